"""How often somebody may try to come in, to enrol or to renew. Counted in this process; a restart forgets."""

from __future__ import annotations

import hashlib
import math
import time
from typing import ClassVar

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class Tries:
    """Counts tries by kind and by whom; every try counts, so that many at once are not more than many in turn."""

    LIMITS: ClassVar = {
        "address": RateLimitItemPerMinute(20, 5, "address"),
        "login": RateLimitItemPerMinute(10, 15, "login"),
        "code": RateLimitItemPerMinute(5, 15, "code"),
        "enrolment": RateLimitItemPerMinute(30, 1, "enrolment"),  # refused: a lab's PCs come from one address
        "renewal": RateLimitItemPerDay(10, 1, "renewal"),  # each makes the list of revoked certificates longer
    }

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def wait(self, kind: str, who: str) -> int:
        """Count a try. 0: go on; else so many seconds must pass before the next."""
        limit, key = self.LIMITS[kind], _key(who)
        return 0 if self._limiter.hit(limit, key) else self._left(limit, key)

    def full(self, kind: str, who: str) -> int:
        """As `wait`, without counting one."""
        limit, key = self.LIMITS[kind], _key(who)
        return 0 if self._limiter.test(limit, key) else self._left(limit, key)

    def forget(self, kind: str, who: str) -> None:
        """It was right: those tries count no more."""
        self._limiter.clear(self.LIMITS[kind], _key(who))

    def _left(self, limit: RateLimitItem, key: str) -> int:
        return max(1, math.ceil(self._limiter.get_window_stats(limit, key).reset_time - time.time()))


def _key(who: str) -> str:
    """What a stranger writes must not take memory by its length."""
    return hashlib.sha256(who.encode()).hexdigest()
