"""What an agent has sent: counted where it arrives."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Count(NamedTuple):
    """Up to now."""

    reports: int = 0
    size: int = 0  # bytes, without the headers of what carried them
    values: int = 0


class Heard:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._lock, self.count = threading.Lock(), Count()

    def add(self, reports: int, size: int, values: int) -> None:
        """So much more has arrived."""
        with self._lock:
            old = self.count
            self.count = Count(old.reports + reports, old.size + size, old.values + values)
