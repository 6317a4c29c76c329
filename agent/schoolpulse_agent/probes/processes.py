"""How many processes there are. Only counts: no name, command line or user is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("processes", "total"): Metric("1", "Processes", "Số tiến trình", "212"),
    ("processes", "running"): Metric("1", "Processes running now", "Số tiến trình đang chạy", "2"),
    ("processes", "blocked"): Metric("1", "Processes waiting for a disk", "Số tiến trình chờ ổ đĩa", "0"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows machines where programs pile up or wait for the disk.",
    "Cho biết máy có chương trình bị dồn hoặc phải chờ ổ đĩa.",
)


def states(stat: bytes) -> dict[str, float]:
    """``procs_running`` and ``procs_blocked`` of Linux's /proc/stat (proc(5))."""
    found = {}
    for line in stat.splitlines():
        name, _, value = line.partition(b" ")
        if name in (b"procs_running", b"procs_blocked"):
            found[name[len("procs_") :].decode()] = float(value)
    return found


@dataclass
class Probe:
    """All processes; their states on Linux only."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        if proc.LINUX:
            # Two lines of /proc/stat cost 0.03 ms; asking each process for its state costs 7 ms.
            total = sum(map(str.isdigit, os.listdir("/proc")))  # noqa: PTH208 - a Path for each costs more than the rest
            found = {"total": float(total), **states(proc.read("/proc/stat"))}
        else:
            import psutil

            found = {"total": float(len(psutil.pids()))}
        yield Reading("processes", {}, found)
