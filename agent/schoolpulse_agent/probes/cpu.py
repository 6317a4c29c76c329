"""How busy the processor is, as a share of the time since the last report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("cpu", "usage_active"): Metric("%", "CPU busy", "CPU đang bận", "12.5"),
    ("cpu", "usage_user"): Metric("%", "CPU in programs", "CPU chạy chương trình", "8.7"),
    ("cpu", "usage_system"): Metric("%", "CPU in the system", "CPU chạy hệ thống", "3.1"),
    ("cpu", "usage_idle"): Metric("%", "CPU idle", "CPU rảnh", "87.5"),
    ("cpu", "usage_nice"): Metric("%", "CPU in low-priority programs", "CPU chạy chương trình ưu tiên thấp", "0.1"),
    ("cpu", "usage_iowait"): Metric("%", "CPU waiting for disks", "CPU chờ ổ đĩa", "0.4"),
    ("cpu", "usage_irq"): Metric("%", "CPU in interrupts", "CPU xử lý ngắt", "0.0"),
    ("cpu", "usage_softirq"): Metric("%", "CPU in soft interrupts", "CPU xử lý ngắt mềm", "0.2"),
    ("cpu", "usage_steal"): Metric("%", "CPU taken by other virtual machines", "CPU bị máy ảo khác chiếm", "0.0"),
}
TAGS = {
    ("cpu", "cpu"): Tag("Which processor; cpu-total is all of them", "Bộ xử lý nào; cpu-total là tất cả", "cpu-total")
}
WHY = Why("Shows machines that are too slow or too busy for lessons.", "Cho biết máy quá chậm hoặc quá tải khi học.")
# What psutil calls interrupts on Windows is Telegraf's irq. Guest time is left out: Linux counts it in user already.
_NAMES = {"interrupt": "irq"}
_KINDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")  # as in /proc/stat; then guests
_SENT = tuple(name[len("usage_") :] for _, name in METRICS if name != "usage_active")


def usage(now: dict[str, float], last: dict[str, float]) -> dict[str, float]:
    """Shares in per cent between two readings of cumulative CPU time by kind; empty if no time has passed."""
    step = {_NAMES.get(kind, kind): max(0.0, now[kind] - last.get(kind, 0.0)) for kind in now}
    step = {kind: time for kind, time in step.items() if kind in _SENT}
    total = sum(step.values())
    if not total:
        return {}
    shares = {f"usage_{kind}": round(100 * time / total, 2) for kind, time in step.items()}
    idle = step.get("idle", 0.0) + step.get("iowait", 0.0)  # Telegraf counts waiting for disks as not active
    shares["usage_active"] = round(100 * (total - idle) / total, 2)
    return shares


def parse_stat(text: bytes) -> dict[str, float]:
    """Ticks by kind since boot, of all processors: the first line of Linux's /proc/stat (proc(5))."""
    line = text.partition(b"\n")[0].split()
    if line[:1] != [b"cpu"]:
        raise ValueError("/proc/stat does not begin with cpu")
    return dict(zip(_KINDS, map(float, line[1:])))


def _times() -> dict[str, float]:
    if proc.LINUX:
        return parse_stat(proc.read("/proc/stat"))
    import psutil

    return psutil.cpu_times()._asdict()


@dataclass
class Probe:
    """All processors together (tag ``cpu=cpu-total``). The first read is only the base line of the second."""

    every: float = 0.0
    _last: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading, none at the first call."""
        now = _times()
        last, self._last = self._last, now
        shares = usage(now, last) if last else {}
        if shares:
            yield Reading("cpu", {"cpu": "cpu-total"}, shares)
