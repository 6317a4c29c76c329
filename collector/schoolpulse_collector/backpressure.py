"""What gives way first when more comes in than can be stored.

The order of load shedding, from first to last:

1. Backlog slows, then pauses (``PACES``): each receipt tells its sender how fast to go on. Live reports go before it.
2. The spool reaches its bound: nothing is acknowledged or receipted any more.
3. The broker's queue reaches its bound (``deploy/mosquitto/mosquitto.conf``) and drops; senders hold theirs.
4. A sender's outbox reaches its bound: its oldest reports go, counted there, and told as lost here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Load(NamedTuple):
    """How much waits where."""

    inbox: float  # of the room for messages that were read and not judged yet, 0 to 1
    spool: int  # bytes not written to the store yet


class Pace(NamedTuple):
    """From this load on, backlog goes at this part of its normal rate."""

    inbox: float
    spool: int
    rate: float


PACES = (Pace(0.5, 512 * 2**20, 0.0), Pace(0.25, 64 * 2**20, 0.1))  # the hardest first
LOOK_EVERY = 1.0  # seconds


class Backpressure:
    """The rate at which senders may send their backlog; asked by the intake's thread alone."""

    def __init__(self, normal: float, load: Callable[[], Load], clock: Callable[[], float] = time.monotonic) -> None:
        self._normal, self._load, self._clock = normal, load, clock
        self._rate, self._looked = normal, -LOOK_EVERY

    def replay_rate(self) -> float:
        """Messages a second and sender; 0: none for now."""
        if self._clock() - self._looked >= LOOK_EVERY:
            self._looked = self._clock()
            load = self._load()
            part = next((pace.rate for pace in PACES if load.inbox >= pace.inbox or load.spool >= pace.spool), 1.0)
            self._rate = self._normal * part
        return self._rate
