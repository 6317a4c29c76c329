"""Follows the registry: a third of a second after a change by anybody, the broker knows and has cut whom it must."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from schoolpulse_collector.broker import Broker, BrokerDown
from schoolpulse_collector.clones import Clones
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import RegistryDown
from schoolpulse_collector.roster import Roster, Sender

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds
REST = 0.1  # seconds between looks, whatever changes: each reads anew what changed lately
HOUR = 3600.0


class Following(threading.Thread):
    """One thread between registry and broker. ``broker`` None: one that nobody tells anything."""

    def __init__(
        self,
        roster: Roster,
        broker: Broker | None,
        presence: Presence,
        clones: Clones,
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        """``tend``: called each hour, for what grows old by itself."""
        super().__init__(name="following", daemon=True)
        self._roster, self._broker, self._presence, self._clones = roster, broker, presence, clones
        self.works = True  # whether the last look came to its end
        self._stopping, self._look = threading.Event(), threading.Event()
        self._owed: list[tuple[Sender | None, Sender]] = []  # what a broker that is away has not been told
        self._told, self._tend, self._tended = "", tend, time.monotonic()
        self.listeners: list[Callable[[Sequence[Sender]], None]] = []  # called with the devices that changed

    def look(self) -> None:
        """There is a change now: don't wait for the next look's time."""
        self._look.set()

    def run(self) -> None:
        """Follow until stopped."""
        while not self._stopping.is_set():
            self._look.wait(LOOK)
            self._look.clear()
            try:
                self._follow()
                self._clones.keep()
                if time.monotonic() - self._tended > HOUR:
                    self._tended = time.monotonic()
                    self._tend()
                self._told, self.works = "", True
            except Exception as why:  # whatever it is, who was revoked must be cut off
                self.works = False
                if str(why) != self._told:
                    known = isinstance(why, (BrokerDown, RegistryDown, OSError))
                    log.error("following the registry: %s; trying again", why, exc_info=not known)
                self._told = str(why)
                self._stopping.wait(1.0)
            self._stopping.wait(REST)

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self._look.set()
        self.join()

    def _follow(self) -> None:
        changes = self._roster.changes()
        self._presence.expect([new.id for old, new in changes if new.active and not (old and old.active)])
        self._presence.forget([new.id for _, new in changes if not new.active])
        for listener in self.listeners:
            listener([new for _, new in changes])
        self._owed += changes
        if self._owed and self._broker:
            self._broker.changed([new for _, new in self._owed], [new.id for old, new in self._owed if _ends(old, new)])
        self._owed = []


def _ends(old: Sender | None, new: Sender) -> bool:
    """Whether a connection that began under ``old`` may not go on."""
    return old is not None and old.active and (not new.active or new.secret_hash != old.secret_hash)
