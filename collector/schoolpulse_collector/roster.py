"""Who may send, as the registry has it, at most a second old; spares broker and intake a query each time."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from schoolpulse_collector.registry import Registry, credential

FRESH = 1.0  # seconds
OVERLAP = 10_000  # milliseconds: writers' clocks and open transactions may put a change a little in the past


class Sender(NamedTuple):
    """One device: what its samples are tagged with, and the proof that it is who it says."""

    id: str
    school: str
    room: str
    kind: str
    active: bool
    secret_hash: str  # as `registry/credential.py` keeps it
    hardware: str = ""  # fingerprint of the machine it was given to; empty: not known


class Roster:
    """Follows the registry's changes. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._senders: dict[str, Sender] = {}
        self._lock = threading.Lock()
        self._mark = 0
        self._fresh_until = 0.0

    def get(self, device: str) -> Sender | None:
        """The device if it is known and active."""
        if time.monotonic() > self._fresh_until:
            self.follow()
        sender = self._senders.get(device)
        return sender if sender and sender.active else None

    def admits(self, device: str, secret: str) -> bool:
        """Whether this is the secret of this active device."""
        sender = self.get(device)
        return sender is not None and credential.matches(secret, sender.secret_hash)

    def all(self) -> list[Sender]:
        """Every device that is known, active or not."""
        self.get("")
        return list(self._senders.values())

    def follow(self) -> list[tuple[Sender | None, Sender]]:
        """Look what changed; return each changed device as it was, None if it is new, and as it is."""
        found = []
        with self._lock:
            now = int(time.time() * 1000)
            for row in self._registry.changed_since(self._mark):
                active = row.status == "active"
                new = Sender(row.id, row.school, row.room or "", row.kind, active, row.secret_hash, row.hardware)
                old = self._senders.get(row.id)
                if new != old:
                    self._senders[row.id] = new
                    found.append((old, new))
            self._mark = now - OVERLAP
            self._fresh_until = time.monotonic() + FRESH
        return found
