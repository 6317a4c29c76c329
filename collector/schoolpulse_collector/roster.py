"""Who may send, as the registry has it, at most a second old; spares broker and intake a query each time."""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from schoolpulse_collector.registry import Registry, RegistryDown, audit, credential, devices

FRESH = 1.0  # seconds
RETRY = 5.0  # seconds between looks at a registry that does not answer: each may take as long as a connection takes
LOG_EVERY = 60.0  # seconds
OVERLAP = 10_000  # milliseconds: for who changes rows by hand, with a clock a little behind

log = logging.getLogger(__name__)


class Sender(NamedTuple):
    """One device: what its samples are tagged with, and the proof that it is who it says."""

    id: str
    school: str
    room: str
    kind: str
    active: bool
    secret_hash: str  # as `registry/credential.py` keeps it
    hardware: str = ""  # fingerprint of the machine it was given to; empty: not known
    simulated: bool = False


class Roster:
    """Follows the registry's changes. Thread-safe.

    While the registry is down everybody stays as last seen; only if it was never seen do calls raise RegistryDown.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._senders: dict[str, Sender] = {}
        self._changes: dict[str, tuple[Sender | None, Sender]] = {}  # seen, and not yet told by `changes`
        self._lock = threading.Lock()
        self._mark = 0
        self._whole_at = 0.0
        self._audited = 0  # newest audit row that was seen
        self._loaded = False
        self._fresh_until = 0.0
        self._logged = -LOG_EVERY

    def get(self, device: str) -> Sender | None:
        """The device if it is known and active."""
        # Once it is loaded nobody waits for somebody else's look: a database may take seconds to say nothing.
        if time.monotonic() > self._fresh_until and self._lock.acquire(blocking=not self._loaded):
            try:
                if time.monotonic() > self._fresh_until:
                    self._look()
            finally:
                self._lock.release()
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

    def follow(self) -> None:
        """Know the registry as it is now."""
        with self._lock:
            self._look()

    def changes(self) -> list[tuple[Sender | None, Sender]]:
        """Look what changed; each device that did since the last call as it was then, None if it is new, and as it is.

        A change is told once, also one that `get` or `follow` saw first.
        """
        with self._lock:
            self._look()
            told, self._changes = self._changes, {}
        return [(old, new) for old, new in told.values() if old != new]

    def _look(self) -> None:
        try:
            self._read()
        except RegistryDown as why:
            if not self._loaded:
                raise
            self._fresh_until = time.monotonic() + RETRY
            if time.monotonic() - self._logged > LOG_EVERY:
                self._logged = time.monotonic()
                log.error("%s; until then devices are as they were last seen", why)
        else:
            self._loaded = True
            self._fresh_until = time.monotonic() + FRESH

    def _read(self) -> None:
        now, noted_only = int(time.time() * 1000), time.monotonic() < self._whole_at
        with self._registry.read() as session:
            # A change's own instant tells how far back to look: it may have begun long before it was committed, or on
            # a machine with another clock. Changes by hand have no row in the audit: each second the last ten are read.
            newest, first = audit.since(session, self._audited)
            if noted_only and first is None:
                return
            since = min(instant for instant in (first, None if noted_only else self._mark) if instant is not None)
            changed = [
                Sender(id, school, room or "", kind, status == "active", secret_hash, hardware, simulated)
                for id, school, room, kind, status, secret_hash, hardware, simulated in devices.changed(session, since)
            ]
        for new in changed:
            old = self._senders.get(new.id)
            if new != old:
                self._senders[new.id] = new
                before = self._changes[new.id][0] if new.id in self._changes else old
                self._changes[new.id] = (before, new)
        self._audited = newest
        if not noted_only:
            self._mark, self._whole_at = now - OVERLAP, time.monotonic() + FRESH
