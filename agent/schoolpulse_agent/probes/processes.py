"""How many processes there are. Only counts: no name, command line or user is read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("processes", "total"): Metric("1", "Processes", "Số tiến trình", "212"),
    ("processes", "running"): Metric("1", "Processes running now", "Số tiến trình đang chạy", "2"),
    ("processes", "blocked"): Metric("1", "Processes waiting for a disk", "Số tiến trình chờ ổ đĩa", "0"),
}
TAGS: Tags = {}
COUNT_EVERY = 290.0  # seconds: to list /proc costs as much as all else together
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


def _count() -> int:
    if proc.LINUX:
        return sum(map(str.isdigit, os.listdir("/proc")))  # noqa: PTH208 - a Path for each costs more than the rest
    import psutil

    return len(psutil.pids())


@dataclass
class Probe:
    """All processes: their states, on Linux only, for each report, how many they are every few minutes."""

    every: float = 0.0
    _count_at: float = field(default=0.0, init=False, repr=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        # Two lines of /proc/stat, which the probe cpu reads too, cost nothing; asking each process for its state 7 ms.
        found = states(proc.read("/proc/stat")) if proc.LINUX else {}
        now = time.monotonic()
        if now >= self._count_at:
            self._count_at = now + COUNT_EVERY
            found["total"] = float(_count())
        if found:
            yield Reading("processes", {}, found)
