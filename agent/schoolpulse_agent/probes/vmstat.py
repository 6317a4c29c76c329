"""Programs that were ended for want of memory, and pages that had to be read back from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("kernel_vmstat", "oom_kill"): Metric(
        "1 total",
        "Programs ended for want of memory",
        "Số chương trình bị dừng vì hết RAM",
        "0",
    ),
    ("kernel_vmstat", "pgmajfault"): Metric(
        "1 total", "Memory pages fetched from disk", "Số trang nhớ phải đọc từ đĩa", "51200"
    ),
}
TAGS: Tags = {}
WHY = Why(
    "Shows machines that have too little memory for what they run.",
    "Cho biết máy không đủ bộ nhớ RAM cho chương trình đang chạy.",
)


def parse(text: bytes) -> dict[str, float]:
    """The fields of Linux's /proc/vmstat; before Linux 4.13 it had no ``oom_kill``."""
    found = {name: proc.number(text, name.encode()) for _, name in METRICS}
    return {name: float(value) for name, value in found.items() if value is not None}


@dataclass
class Probe:
    """The kernel's counters; Linux only."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        if proc.LINUX:
            fields = parse(proc.read("/proc/vmstat"))
            if fields:
                yield Reading("kernel_vmstat", {}, fields)
