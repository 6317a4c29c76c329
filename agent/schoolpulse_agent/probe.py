"""What a probe is, and how the agent finds one by its file's name.

A probe is one file in ``probes/``: a ``METRICS`` table and a dataclass ``Probe`` whose fields are its settings. To add
one, copy ``probes/swap.py``; there is no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, NamedTuple

from schoolpulse_agent import probes


class Metric(NamedTuple):
    """What one field means: its unit and its label in English and Vietnamese."""

    unit: str  # "%", "B", "s", "1" (a count or a ratio); "B total" and the like for counters since boot
    en: str
    vi: str


class Reading(NamedTuple):
    """Fields of one measurement read at one place; names and units are Telegraf's wherever it has one."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, float]


Metrics = dict[tuple[str, str], Metric]  # (measurement, field) -> what it means


class Probe:
    """What ``cycle.py`` expects of a probe. It alone times, isolates and reports them.

    ``every``: seconds between two reads; 0 reads it for each report.
    """

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield what can be read now. May raise anything: what was yielded before stays, the error is reported."""
        raise NotImplementedError


def names() -> list[str]:
    """Names of all probes, sorted: the files in ``probes/``."""
    return sorted(module.name for module in pkgutil.iter_modules(probes.__path__))


def probe_class(name: str) -> type[Any]:
    """The dataclass of the probe in ``probes/<name>.py``."""
    cls: type[Any] = importlib.import_module(f"{probes.__name__}.{name}").Probe
    return cls


def metrics(name: str | None = None) -> Metrics:
    """Every (measurement, field) that one probe, or all of them and the agent itself, may send."""
    if name is not None:
        found: Metrics = importlib.import_module(f"{probes.__name__}.{name}").METRICS
        return found
    table: Metrics = dict(OWN_METRICS)
    for each in names():
        table.update(metrics(each))
    return table


# What the agent says of itself.
OWN_METRICS: Metrics = {
    ("probe", "up"): Metric("1", "Probe works (1) or failed (0)", "Bộ đo hoạt động (1) hay lỗi (0)"),
    ("probe", "seconds"): Metric("s", "Time the probe took", "Thời gian đọc của bộ đo"),
    ("agent", "waiting"): Metric(
        "1", "Reports not yet confirmed by the centre", "Báo cáo chưa được trung tâm xác nhận"
    ),
    ("agent", "dropped"): Metric(
        "1 total", "Reports dropped since start, outbox full", "Báo cáo phải bỏ từ khi chạy do hàng đợi đầy"
    ),
    ("agent", "clock_offset"): Metric("s", "Centre's clock minus this machine's", "Giờ trung tâm trừ giờ máy này"),
    ("agent", "damaged"): Metric(
        "1 total", "Damaged blocks found on disk since start", "Khối dữ liệu hỏng trên đĩa từ khi chạy"
    ),
}
