"""How often somebody may try to come in. Counted in this process; a restart forgets."""

from __future__ import annotations

import hashlib
import math
import time
from typing import ClassVar

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class Tries:
    """Counts tries by kind and by whom; every try counts, so that many at once are not more than many in turn."""

    LIMITS: ClassVar = {
        "address": RateLimitItemPerMinute(20, 5, "address"),
        "login": RateLimitItemPerMinute(10, 15, "login"),
        "code": RateLimitItemPerMinute(5, 15, "code"),
    }

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def wait(self, kind: str, who: str) -> int:
        """Count a try. 0: go on; else so many seconds must pass before the next."""
        limit, key = self.LIMITS[kind], _key(who)
        if self._limiter.hit(limit, key):
            return 0
        return max(1, math.ceil(self._limiter.get_window_stats(limit, key).reset_time - time.time()))

    def forget(self, kind: str, who: str) -> None:
        """It was right: those tries count no more."""
        self._limiter.clear(self.LIMITS[kind], _key(who))


def _key(who: str) -> str:
    """What a stranger writes must not take memory by its length."""
    return hashlib.sha256(who.encode()).hexdigest()
