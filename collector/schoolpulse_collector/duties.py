"""Which machine of a room reads for all what one is enough for: whether the Internet is there, and how fast.

The policy: of each room (of a school, for machines without one) the first machine that is heard has the duty as long
as it is there; when it is gone, or elsewhere, the next one that is heard takes it over. Simulated ones measure nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from schoolpulse_collector.presence import Presence
from schoolpulse_collector.roster import Roster, Sender

DUTIES = ("internet",)  # probes
NONE: tuple[str, ...] = ()
GRACE = 10.0  # seconds: a hello is answered before presence hears of it


class Duties:
    """Called by the intake for each receipt: a few look-ups."""

    def __init__(self, roster: Roster, presence: Presence, clock: Callable[[], float] = time.monotonic) -> None:
        self._roster, self._presence, self._clock = roster, presence, clock
        self._elected: dict[tuple[str, str], tuple[str, float]] = {}  # (school, room) -> device, when elected

    def of(self, device: str) -> tuple[str, ...]:
        """The probes that this device, from which something has just come, reads for its room."""
        sender = self._roster.get(device)
        if sender is None or sender.simulated:
            return NONE
        place = (sender.school, sender.room)
        elected, since = self._elected.get(place, ("", 0.0))
        if elected != device:
            if elected and self._is_there(elected, place, since):
                return NONE
            self._elected[place] = (device, self._clock())
        return DUTIES

    def _is_there(self, device: str, place: tuple[str, str], since: float) -> bool:
        sender: Sender | None = self._roster.get(device)
        if sender is None or (sender.school, sender.room) != place:
            return False
        return self._presence.of(device).state == "online" or self._clock() - since < GRACE
