"""What this agent costs its machine, looked at once a report; past its limits it reports less often, or starts anew."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import Callable

from schoolpulse_agent import proc
from schoolpulse_agent.settings import Limits
from schoolpulse_agent.wire import Fields

log = logging.getLogger(__name__)

REPORTS = 10  # over so many the use of the processor is averaged
STRETCH_MAX = 10.0  # times the interval that the settings ask for
SPARE = 1.2  # a little slower than would just do
GROWN = 1.5  # times what it held at first: below that a new start would not make it smaller


def cpu_seconds() -> float:
    """Processor time of this process and of the programs that it ran, since its start."""
    return sum(os.times()[:4])


def resident() -> int:
    """Bytes of memory that this process holds."""
    if proc.LINUX:
        return int(proc.read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGESIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)


class Footprint:
    """``stretch``: how many times the interval to wait between two reports; ``too_large``: end, and be started anew."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = cpu_seconds,
        memory: Callable[[], int] = resident,
    ) -> None:
        self.limits = limits
        self.stretch, self.too_large = 1.0, False
        self._clock, self._cpu, self._memory = clock, cpu, memory
        self._first = 0  # bytes of memory at the first look
        self._looks: deque[tuple[float, float]] = deque(maxlen=REPORTS + 1)

    def look(self) -> Fields:
        """The fields of measurement ``agent`` that this is about; call it once a report."""
        memory = self._memory()
        self._first = self._first or memory
        if memory > max(self.limits.memory_mb * 2**20, GROWN * self._first) and not self.too_large:
            log.error("%d MB of memory are more than limits.memory_mb: ending, to be started anew", memory / 2**20)
            self.too_large = True
        self._looks.append((self._clock(), self._cpu()))
        (since, before), (now, used) = self._looks[0], self._looks[-1]
        percent = 100 * (used - before) / (now - since) if now > since else 0.0
        if len(self._looks) > REPORTS:
            self._adapt(percent)
        return {"cpu_usage": round(percent, 4), "memory_rss": float(memory), "stretch": round(self.stretch, 2)}

    def _adapt(self, percent: float) -> None:
        allowed, before = self.limits.cpu_percent, self.stretch
        if percent > allowed:
            self.stretch = min(self.stretch * percent / allowed * SPARE, STRETCH_MAX)
        elif percent < allowed / 2:
            self.stretch = max(self.stretch / 2, 1.0)
        if self.stretch != before:
            log.warning("%.2f %% of a processor, %g %% allowed: interval x %.1f", percent, allowed, self.stretch)
            self._looks.clear()
