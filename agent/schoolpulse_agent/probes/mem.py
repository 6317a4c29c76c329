"""How much memory (RAM) is in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("mem", "total"): Metric("B", "Memory installed", "Bộ nhớ RAM đã lắp", "8589934592"),
    ("mem", "available"): Metric("B", "Memory available", "Bộ nhớ RAM còn dùng được", "5153960755"),
    ("mem", "used"): Metric("B", "Memory used", "Bộ nhớ RAM đã dùng", "3006477107"),
    ("mem", "free"): Metric("B", "Memory free", "Bộ nhớ RAM trống", "2147483648"),
    ("mem", "used_percent"): Metric("%", "Memory used", "Bộ nhớ RAM đã dùng", "35.0"),
    ("mem", "available_percent"): Metric("%", "Memory available", "Bộ nhớ RAM còn dùng được", "60.0"),
    ("mem", "cached"): Metric("B", "Memory used as disk cache", "Bộ nhớ RAM làm bộ đệm đĩa", "2576980377"),
    ("mem", "buffered"): Metric("B", "Memory used as buffers", "Bộ nhớ RAM làm vùng đệm", "214748364"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows machines with too little memory for what they are used for.", "Cho biết máy thiếu bộ nhớ RAM so với nhu cầu."
)


_LINES = (b"MemTotal:", b"MemFree:", b"Buffers:", b"Cached:", b"SReclaimable:", b"MemAvailable:")


def parse_meminfo(text: bytes) -> dict[str, float]:
    """Bytes by field, of Linux's /proc/meminfo (proc(5)). Raises ValueError where that has no total.

    ``used`` is what neither is free nor serves as a buffer or cache, as Telegraf has it.
    """
    total, free, buffered, pages, slabs, available = (proc.number(text, name) for name in _LINES)
    if not total or free is None:
        raise ValueError("/proc/meminfo tells no memory")
    buffered, cached = buffered or 0, (pages or 0) + (slabs or 0)
    available = free + cached + buffered if available is None else available  # before Linux 3.14 there is none
    found = {"total": total, "available": available, "free": free, "cached": cached, "buffered": buffered}
    found["used"] = max(0, total - free - cached - buffered)
    return {name: value * 1024.0 for name, value in found.items()}


def _bytes() -> dict[str, float]:
    if proc.LINUX:
        return parse_meminfo(proc.read("/proc/meminfo"))
    import psutil

    mem = psutil.virtual_memory()
    return {name: float(getattr(mem, name)) for name in ("total", "available", "used", "free")}


@dataclass
class Probe:
    """The machine's memory as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        found = _bytes()
        for name in ("used", "available"):
            found[f"{name}_percent"] = round(100 * found[name] / found["total"], 2)
        yield Reading("mem", {}, found)
