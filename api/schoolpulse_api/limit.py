"""How often one address may try something that is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException, Request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from schoolpulse_api.browser import network
from schoolpulse_collector.registry.enrolment import NotAdmitted


class Limit:
    """Counts refusals by address or network, as in ``30/minute``; in this process's memory."""

    def __init__(self, rate: str) -> None:
        self._rate, self._limiter = parse(rate), MovingWindowRateLimiter(MemoryStorage())

    @contextmanager
    def unless_refused(self, request: Request) -> Iterator[None]:
        """Run the block; count it if it raises NotAdmitted. Raises 429 when there were too many before."""
        address = network(request)
        if not self._limiter.test(self._rate, address):
            self._refuse(address)
        try:
            yield
        except NotAdmitted:
            self._limiter.hit(self._rate, address)
            raise

    def count(self, who: str) -> None:
        """Count something that is not refused. Raises 429 when there was too much of it."""
        if not self._limiter.hit(self._rate, who):
            self._refuse(who)

    def _refuse(self, who: str) -> None:
        wait = max(1, int(self._limiter.get_window_stats(self._rate, who).reset_time - time.time()) + 1)
        raise HTTPException(429, f"too many tries: wait {wait} s", {"Retry-After": str(wait)})
