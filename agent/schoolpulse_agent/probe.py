"""What a probe is, and how the agent finds one by its file's name.

A probe is one file in ``probes/``: what it may send and why (``METRICS``, ``TAGS``, ``WHY``), and a dataclass ``Probe``
whose fields are its settings. To add one, copy ``probes/swap.py``; there is no list to edit. These tables are the
manifest that a principal signs: ``cycle.py`` sends nothing that does not stand in them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from schoolpulse_agent import probes


class Metric(NamedTuple):
    """What one field means: its unit, its label in English and Vietnamese, and a value as it may be sent."""

    unit: str  # "%", "B", "s", "1" (a count or a ratio); "B total" and the like for counters since boot
    en: str
    vi: str
    example: str = ""


class Tag(NamedTuple):
    """What one tag means, in English and Vietnamese, and a text as it may be sent."""

    en: str
    vi: str
    example: str


class Why(NamedTuple):
    """What a probe's fields are needed for, in English and Vietnamese: one sentence each."""

    en: str
    vi: str


class Reading(NamedTuple):
    """Fields of one measurement read at one place; names and units are Telegraf's wherever it has one."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, float]


Metrics = dict[tuple[str, str], Metric]  # (measurement, field) -> what it means
Tags = dict[tuple[str, str], Tag]  # (measurement, tag) -> what it means


class Probe:
    """What ``cycle.py`` expects of a probe. It alone times, isolates and reports them. Only ``read`` is a must.

    ``every``: seconds between two reads; 0 reads it for each report.
    """

    every: float = 0.0
    patience: ClassVar[float] = 0.0  # seconds a read may take, in a thread of its own; 0: it can't hang, it needs none
    elected: ClassVar[bool] = False  # one machine of a room reads it for all, named by the centre
    on: ClassVar[bool] = True  # unless the settings say otherwise
    local: ClassVar[tuple[str, ...]] = ()  # settings that only the machine's own file may set: addresses, names

    def read(self) -> Iterator[Reading]:
        """Yield what can be read now. May raise anything: what was yielded before stays, the error is reported.

        A machine that has no such thing (no battery, no Wi-Fi) is no error: it yields nothing.
        """
        raise NotImplementedError


@lru_cache(maxsize=1)
def names() -> list[str]:
    """Names of all probes, sorted: the files in ``probes/``."""
    folder = Path(probes.__path__[0])
    if folder.is_dir():
        return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    import pkgutil  # in a zip; pkgutil costs 0.8 MB

    return sorted(module.name for module in pkgutil.iter_modules(probes.__path__))


def module(name: str) -> Any:
    """The probe's file: ``METRICS``, ``TAGS``, ``WHY``, ``Probe``."""
    return importlib.import_module(f"{probes.__name__}.{name}")


def probe_class(name: str) -> type[Any]:
    """The dataclass of the probe in ``probes/<name>.py``."""
    cls: type[Any] = module(name).Probe
    return cls


def metrics(name: str | None = None) -> Metrics:
    """Every (measurement, field) that one probe, or all of them and the agent itself, may send."""
    if name is not None:
        found: Metrics = module(name).METRICS
        return found
    table: Metrics = dict(OWN_METRICS)
    for each in names():
        table.update(metrics(each))
    return table


def listed(name: str, reading: Reading) -> bool:
    """Whether all of what this probe read stands in its tables."""
    own, what = module(name), reading.measurement
    return all((what, field) in own.METRICS for field in reading.fields) and all(
        (what, tag) in own.TAGS for tag in reading.tags
    )


# What the agent says of itself.
OWN_METRICS: Metrics = {
    ("probe", "up"): Metric("1", "Probe works (1) or failed (0)", "Bộ đo hoạt động (1) hay lỗi (0)", "1"),
    ("probe", "seconds"): Metric("s", "Time the probe took", "Thời gian đọc của bộ đo", "0.0004"),
    ("probe", "stuck"): Metric(
        "1", "Probe has not come back since its last read (1)", "Bộ đo bị treo từ lần đọc trước (1)", "1"
    ),
    ("agent", "waiting"): Metric(
        "1", "Reports not yet confirmed by the centre", "Báo cáo chưa được trung tâm xác nhận", "0"
    ),
    ("agent", "dropped"): Metric(
        "1 total", "Reports dropped since start, outbox full", "Báo cáo phải bỏ từ khi chạy do hàng đợi đầy", "0"
    ),
    ("agent", "clock_offset"): Metric(
        "s", "Centre's clock minus this machine's", "Giờ trung tâm trừ giờ máy này", "0.12"
    ),
    ("agent", "cpu_usage"): Metric(
        "%",
        "Use of one processor by this agent",
        "Phần mềm này dùng bao nhiêu một bộ xử lý",
        "0.01",
    ),
    ("agent", "memory_rss"): Metric("B", "Memory of this agent", "Bộ nhớ RAM mà phần mềm này dùng", "23068672"),
    ("agent", "stretch"): Metric(
        "1",
        "Interval stretched, to stay within its limits",
        "Số lần giãn chu kỳ để không vượt giới hạn",
        "1",
    ),
    ("agent", "damaged"): Metric(
        "1 total", "Damaged blocks found on disk since start", "Khối dữ liệu hỏng trên đĩa từ khi chạy", "0"
    ),
}
OWN_TAGS: Tags = {("probe", "probe"): Tag("Name of the probe", "Tên bộ đo", "disk")}
OWN_WHY = Why(
    "Shows that this agent itself works, loses nothing and costs little.",
    "Cho biết chính phần mềm này hoạt động tốt, không mất dữ liệu và không làm nặng máy.",
)
