"""What time it is, on machines whose clock may be dead: believed only once the centre has said its own.

Reports are stamped when they are read and published only after the first receipt of this start. If that shows that the
clock was far off, they are stamped anew by how long ago they were read; after that every stamp carries the correction.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

FAR = 120_000  # milliseconds: a clock this near to the centre's is good enough, and its own steps stay its own


def uptime() -> float:
    """Seconds since boot, sleep included; no clock step changes it."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, time.time() - psutil.boot_time())


class WallClock:
    """UTC milliseconds, corrected by what receipts say."""

    def __init__(self, wall: Callable[[], float] = time.time, uptime: Callable[[], float] = uptime) -> None:
        self.settled = False  # whether the centre has said its time since this start
        self.offset_ms = 0  # the centre's clock minus this machine's, at the last receipt
        self.uptime = uptime
        self._wall = wall
        self._last = 0

    def now(self) -> int:
        """The time; never the same millisecond twice in a row, because a store keeps one sample of each."""
        now = self.raw() + (self.offset_ms if abs(self.offset_ms) > FAR else 0)
        self._last = now + 1 if now == self._last else now
        return self._last

    def raw(self) -> int:
        """What this machine's own clock says."""
        return int(self._wall() * 1000)

    def learn(self, centre: int) -> None:
        """Take in the centre's time, UTC milliseconds."""
        self.offset_ms, self.settled = centre - self.raw(), True

    def restamped(self, t: int, up: float) -> int:
        """The right time of a report read at uptime ``up`` of this boot and stamped ``t``."""
        right = self.raw() + self.offset_ms - int((self.uptime() - up) * 1000)
        return right if abs(right - t) > FAR else t
