"""A simulated lab: PCs that do not exist, reporting through the real wire, outbox and link.

Only what they measure is made up; every place that shows them says so, because the registry marks them.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schoolpulse_agent.wire import Groups


@dataclass
class LabPC:
    """What one simulated PC measures: lessons of 45 minutes in which the class works, breaks in which it does not."""

    number: int
    clock: Callable[[], float] = time.time
    _random: random.Random = field(init=False)
    _sent: float = field(default=0.0, init=False)
    _received: float = field(default=0.0, init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Give each PC its own way."""
        self._random = random.Random(self.number)
        self._disk = self._random.uniform(35, 92)
        self._started = self.clock()

    def read(self) -> Groups:
        """One report's groups, in the real probes' names and units."""
        now = self.clock()
        lesson = 0.5 + 0.5 * math.sin(now / 2700 * math.tau + self.number / 40)
        busy = min(100.0, max(0.5, self._random.gauss(8 + 45 * lesson, 10)))
        total, memory = 8 * 2.0**30, min(97.0, max(15.0, self._random.gauss(38 + 20 * lesson, 4)))
        disk = 240 * 1e9
        self._sent += self._random.uniform(1e3, 4e4) * (1 + lesson)
        self._received += self._random.uniform(1e4, 6e5) * (1 + lesson)
        return {
            "cpu,cpu=cpu-total": {"usage_active": round(busy, 2), "usage_idle": round(100 - busy, 2)},
            "mem": {"total": total, "used": round(total * memory / 100), "used_percent": round(memory, 2)},
            "disk,fstype=ntfs,path=C:": {
                "total": disk,
                "used": round(disk * self._disk / 100),
                "free": round(disk * (1 - self._disk / 100)),
                "used_percent": round(self._disk, 2),
            },
            "net,interface=Ethernet": {"bytes_sent": round(self._sent), "bytes_recv": round(self._received), "up": 1.0},
            "system": {"uptime": round(now - self._started, 1), "n_users": float(lesson > 0.4), "n_cpus": 4.0},
            "processes": {"total": float(self._random.randint(90, 140))},
        }
