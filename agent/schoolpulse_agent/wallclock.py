"""What time it is, on machines whose clock may be dead or step: believed only once the centre has said its own.

The machine's clock is read once, at the start; from then on uptime counts, which no step of the clock changes. Reports
are published only after the first receipt of this start; if that shows that the clock was far off, those that wait get
their right time by the same shift.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAR = 10_000  # milliseconds: nearer to the centre's is good enough, for a receipt may be on its way that long


def uptime() -> float:
    """Seconds since boot, sleep included; no clock step changes it."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    import psutil

    return max(0.0, time.time() - psutil.boot_time())


class WallClock:
    """UTC milliseconds, corrected by what receipts say."""

    def __init__(self, wall: Callable[[], float] = time.time, uptime: Callable[[], float] = uptime) -> None:
        self.settled = False  # whether the centre has said its time since this start
        self.offset_ms = 0  # the centre's clock minus this machine's, at the last receipt
        self.uptime = uptime
        self._wall = wall
        self._boot = self.raw() - int(uptime() * 1000)  # when this machine was started, as far as is known
        self._last = 0

    def now(self) -> int:
        """The time; never the same millisecond twice in a row, because a store keeps one sample of each."""
        now = self._boot + int(self.uptime() * 1000)
        self._last = self._last + 1 if self._last - 1000 < now <= self._last else now
        return self._last

    def raw(self) -> int:
        """What this machine's own clock says."""
        return int(self._wall() * 1000)

    def learn(self, centre: int) -> int:
        """Take in the centre's time, UTC milliseconds; return by how much ``now`` moved, normally 0."""
        self.offset_ms, self.settled = centre - self.raw(), True
        error = centre - self._boot - int(self.uptime() * 1000)
        moved = error if abs(error) > FAR else 0
        self._boot += moved
        return moved
