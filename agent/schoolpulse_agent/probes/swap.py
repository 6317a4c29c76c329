"""How much of the swap space is in use, and how much goes in and out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("swap", "total"): Metric("B", "Swap space", "Dung lượng bộ nhớ tráo đổi", "2147483648"),
    ("swap", "used"): Metric("B", "Swap used", "Bộ nhớ tráo đổi đã dùng", "104857600"),
    ("swap", "free"): Metric("B", "Swap free", "Bộ nhớ tráo đổi còn trống", "2042626048"),
    ("swap", "used_percent"): Metric("%", "Swap used", "Bộ nhớ tráo đổi đã dùng", "4.9"),
    ("swap", "in"): Metric(
        "B total", "Read back from swap since boot", "Đọc lại từ vùng tráo đổi từ khi bật máy", "1048576"
    ),
    ("swap", "out"): Metric("B total", "Written to swap since boot", "Ghi ra vùng tráo đổi từ khi bật máy", "4194304"),
}
TAGS: Tags = {}
WHY = Why("Shows machines that are slow because memory is short.", "Cho biết máy chậm vì thiếu bộ nhớ RAM.")


def parse(meminfo: bytes, vmstat: bytes, page: int) -> dict[str, float]:
    """Bytes by field, of Linux's /proc/meminfo and /proc/vmstat, whose pages are so many bytes (proc(5))."""
    total, free = ((proc.number(meminfo, name) or 0) * 1024.0 for name in (b"SwapTotal:", b"SwapFree:"))
    read, written = (float((proc.number(vmstat, name) or 0) * page) for name in (b"pswpin", b"pswpout"))
    return {"total": total, "used": total - free, "free": free, "in": read, "out": written}


def _bytes() -> dict[str, float]:
    if proc.LINUX:
        return parse(proc.read("/proc/meminfo"), proc.read("/proc/vmstat"), os.sysconf("SC_PAGESIZE"))
    import psutil

    swap = psutil.swap_memory()
    found = {"total": swap.total, "used": swap.used, "free": swap.free, "in": swap.sin, "out": swap.sout}
    return {name: float(value) for name, value in found.items()}


@dataclass
class Probe:
    """The machine's swap space as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        found = _bytes()
        found["used_percent"] = round(100 * found["used"] / found["total"], 2) if found["total"] else 0.0
        yield Reading("swap", {}, found)
