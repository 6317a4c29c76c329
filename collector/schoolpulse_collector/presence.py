"""Who is there: by sessions and last words, never by what a broker retained.

``online``: connected or reporting. ``off``: said goodbye. ``offline``: cut off or silent. ``unknown``: not heard since
this collector started.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from schoolpulse_agent.wire import Presence as Said

STATES = ("online", "off", "offline", "unknown")
SILENCE = 2.5  # intervals without a word
FRESH = 3  # a report older than so many intervals is late data and says nothing of now
INTERVAL = 60.0  # until the device has said its own


@dataclass(frozen=True)
class State:
    """What is known of one device's presence; times in UTC milliseconds."""

    state: str = "unknown"
    since: int = 0
    seen: int = 0  # its last word of any kind
    session: str = ""
    interval: float = INTERVAL


UNHEARD = State()


class Presence:
    """The presence of all devices. Thread-safe; listeners are called with (device, state) after each change."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.listeners: list[Callable[[str, State], None]] = []
        self._states: dict[str, State] = {}
        self._heard: dict[str, float] = {}  # monotonic time of each last word
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.RLock()  # held while judging: a hello must not be overtaken by an older judgement

    def of(self, device: str) -> State:
        """The presence of one device."""
        return self._states.get(device, UNHEARD)

    def count(self) -> Counter[str]:
        """How many of the devices heard so far are in each state."""
        return Counter(state.state for state in list(self._states.values()))

    def expect(self, devices: list[str]) -> None:
        """Start the silence timer of devices that should be there but have not been heard yet."""
        with self._lock:
            for device in devices:
                self._heard.setdefault(device, self._monotonic())
                self._states.setdefault(device, UNHEARD)

    def forget(self, devices: list[str]) -> None:
        """These are not awaited any more: they were revoked or retired."""
        with self._lock:
            for device in devices:
                self._heard.pop(device, None)
                self._states.pop(device, None)

    def said(self, device: str, said: Said) -> None:
        """Take in a presence message."""
        with self._lock:
            known = self.of(device)
            if said.state == "online":
                interval = min(max(said.interval, 1.0), 86_400.0)
                self._become(device, replace(known, session=said.session, interval=interval), "online")
            elif said.session == known.session or (not known.session and known.state in ("online", "unknown")):
                # An old connection's last will may come after the new connection's hello, or after its own goodbye.
                self._become(device, replace(known, session=""), "off" if said.state == "bye" else "offline")

    def reported(self, device: str, t: int) -> None:
        """A report measured at t arrived: it says that the device is there, unless it is late data."""
        now = self._clock() * 1000
        with self._lock:
            known = self.of(device)
            if abs(now - t) <= FRESH * known.interval * 1000 and not (known.state == "off" and t <= known.since):
                self._become(device, known, "online")

    def tick(self) -> None:
        """Call the silent ones offline. Call it each second while the collector hears what there is to hear."""
        now = self._monotonic()
        with self._lock:
            for device, heard in list(self._heard.items()):
                known = self.of(device)
                if known.state in ("online", "unknown") and now - heard > SILENCE * known.interval:
                    self._become(device, known, "offline", heard=False)

    def start_timers_anew(self) -> None:
        """After the collector itself was deaf: nobody's silence counts from before."""
        with self._lock:
            self._heard = dict.fromkeys(self._heard, self._monotonic())

    def _become(self, device: str, known: State, state: str, *, heard: bool = True) -> None:
        now = int(self._clock() * 1000)
        changed = state != known.state
        new = replace(known, state=state, since=now if changed else known.since, seen=now if heard else known.seen)
        self._states[device] = new
        if heard:
            self._heard[device] = self._monotonic()
        if changed:
            for listener in self.listeners:
                listener(device, new)
