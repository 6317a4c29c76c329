"""Once a second: calls silent devices offline, but only while the collector itself hears what there is to hear."""

from __future__ import annotations

import threading
import time

from schoolpulse_collector.presence import Presence
from schoolpulse_collector.subscriber import Subscriber

BEHIND = 10.0  # seconds the inbox may stay filled until silence can't be told from our own slowness


class Clock(threading.Thread):
    """Drives ``Presence.tick``."""

    def __init__(self, presence: Presence, subscriber: Subscriber) -> None:
        super().__init__(name="clock", daemon=True)
        self._presence, self._subscriber = presence, subscriber
        self._stopping = threading.Event()

    def run(self) -> None:
        """Tick until stopped."""
        emptied, deaf = time.monotonic(), True
        while not self._stopping.wait(1.0):
            now = time.monotonic()
            if self._subscriber.inbox.empty():
                emptied = now
            if not self._subscriber.connected or now - emptied > BEHIND:
                deaf = True
            elif deaf:
                self._presence.start_timers_anew()
                deaf = False
            else:
                self._presence.tick()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()
