"""How busy the processor is, as a share of the time since the last report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from schoolpulse_agent.probe import Metric, Reading

METRICS = {
    ("cpu", "usage_active"): Metric("%", "CPU busy", "CPU đang bận"),
    ("cpu", "usage_user"): Metric("%", "CPU in programs", "CPU chạy chương trình"),
    ("cpu", "usage_system"): Metric("%", "CPU in the system", "CPU chạy hệ thống"),
    ("cpu", "usage_idle"): Metric("%", "CPU idle", "CPU rảnh"),
    ("cpu", "usage_nice"): Metric("%", "CPU in low-priority programs", "CPU chạy chương trình ưu tiên thấp"),
    ("cpu", "usage_iowait"): Metric("%", "CPU waiting for disks", "CPU chờ ổ đĩa"),
    ("cpu", "usage_irq"): Metric("%", "CPU in interrupts", "CPU xử lý ngắt"),
    ("cpu", "usage_softirq"): Metric("%", "CPU in soft interrupts", "CPU xử lý ngắt mềm"),
    ("cpu", "usage_steal"): Metric("%", "CPU taken by other virtual machines", "CPU bị máy ảo khác chiếm"),
}
# What psutil calls interrupts on Windows is Telegraf's irq. Guest time is left out: Linux counts it in user already.
_NAMES = {"interrupt": "irq"}
_SENT = tuple(name[len("usage_") :] for _, name in METRICS if name != "usage_active")


def usage(now: dict[str, float], last: dict[str, float]) -> dict[str, float]:
    """Shares in per cent between two readings of cumulative CPU seconds by kind; empty if no time has passed."""
    step = {_NAMES.get(kind, kind): max(0.0, now[kind] - last.get(kind, 0.0)) for kind in now}
    step = {kind: seconds for kind, seconds in step.items() if kind in _SENT}
    total = sum(step.values())
    if not total:
        return {}
    shares = {f"usage_{kind}": round(100 * seconds / total, 2) for kind, seconds in step.items()}
    idle = step.get("idle", 0.0) + step.get("iowait", 0.0)  # Telegraf counts waiting for disks as not active
    shares["usage_active"] = round(100 * (total - idle) / total, 2)
    return shares


@dataclass
class Probe:
    """All processors together (tag ``cpu=cpu-total``). The first read is only the base line of the second."""

    every: float = 0.0
    _last: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading, none at the first call."""
        now = psutil.cpu_times()._asdict()
        last, self._last = self._last, now
        shares = usage(now, last) if last else {}
        if shares:
            yield Reading("cpu", {"cpu": "cpu-total"}, shares)
