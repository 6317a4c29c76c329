"""Notices device ids that more than one machine uses: copies of an image that was made after enrolment.

Two signs. A hello shows the fingerprint of another machine than the id was given to. Or a start of a sender (epoch)
says hello after a later start had: one machine can't go back to an earlier start, two take turns.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from sqlalchemy import delete, func, select

from schoolpulse_agent.wire import Presence as Said
from schoolpulse_collector.registry import SYSTEM, Change, Refused, Registry, RegistryDown
from schoolpulse_collector.registry.model import Device, Sighting
from schoolpulse_collector.roster import Roster

STARTS = 8  # of a device that are remembered, the newest
TURNS = 3  # so many goings back in an hour are no accident: `schoolpulse-agent check` beside a running agent is one
HOUR = 3600.0
SAME = ""  # in place of a fingerprint: a second machine that shows the right one
MOST_SEEN = 200  # other machines of one device: an image's copies; one that invents fingerprints fills no table
MOST_NOTICED = 10_000  # between two writes
KEEP_EVERY = 5.0  # seconds between two writes of what was noticed
CUT = 1000  # milliseconds after a rekey in which those who had the old secret may still be heard


class Clones:
    """Takes in hellos, and keeps what it noticed in the registry. Thread-safe."""

    def __init__(self, registry: Registry, roster: Roster) -> None:
        self._registry, self._roster = registry, roster
        self._starts: dict[str, deque[int]] = {}
        self._turns: dict[str, deque[float]] = {}
        self._noticed: dict[tuple[str, str], tuple[int, int]] = {}  # (device, fingerprint) -> last (UTC ms), count
        self._lock = threading.Lock()
        self._keep_at = 0.0

    def said(self, device: str, said: Said) -> None:
        """Take in a presence message of a device that the roster knows."""
        sender = self._roster.get(device)
        if said.state != "online" or sender is None:
            return
        if said.hardware and sender.hardware and said.hardware != sender.hardware:
            self._notice(device, said.hardware)  # and its starts say nothing of the device's own machine
            return
        starts = self._starts.setdefault(device, deque(maxlen=STARTS))
        back = said.epoch in starts and starts[-1] != said.epoch
        if said.epoch in starts:
            starts.remove(said.epoch)
        starts.append(said.epoch)
        if back and self._turned(device) >= TURNS:
            self._notice(device, SAME)

    def keep(self) -> None:
        """Write what was noticed into the registry, at most every few seconds. Raises what the registry raises."""
        if not self._noticed or time.monotonic() < self._keep_at:
            return
        self._keep_at = time.monotonic() + KEEP_EVERY
        with self._lock:
            noticed, self._noticed = self._noticed, {}
        try:
            with self._registry.change(SYSTEM) as change:
                for (device, hardware), (last, count) in noticed.items():
                    _write(change, device, hardware, last, count)
        except RegistryDown:
            with self._lock:
                self._noticed = {**noticed, **self._noticed}
            raise

    def _turned(self, device: str) -> int:
        now = time.monotonic()
        turns = self._turns.setdefault(device, deque(maxlen=TURNS))
        turns.append(now)
        return sum(now - turn < HOUR for turn in turns)

    def _notice(self, device: str, hardware: str) -> None:
        with self._lock:
            _, count = self._noticed.get((device, hardware), (0, 0))
            if not count and len(self._noticed) >= MOST_NOTICED:
                return
            self._noticed[device, hardware] = (int(time.time() * 1000), count + 1)


def _write(change: Change, device: str, hardware: str, last: int, count: int) -> None:
    known, row = change.session.get(Sighting, (device, hardware)), change.session.get(Device, device)
    if row is None or last < row.changed + (CUT if row.rekey_until else 0):  # it was settled since
        return
    if known:
        known.last, known.count = last, known.count + count
        return
    seen = change.session.scalar(select(func.count()).where(Sighting.device == device)) or 0
    if seen < MOST_SEEN:
        change.session.add(Sighting(device=device, hardware=hardware, first=last, last=last, count=count))
        change.note("device.cloned", f"device:{device}", row.school, hardware=hardware or "same")


def settle(change: Change, device: str) -> None:
    """Forget what was noticed of this device: something has been done about it."""
    change.session.execute(delete(Sighting).where(Sighting.device == device))


def accept(change: Change, row: Device) -> None:
    """Take the hardware that was seen last as the device's own. Raises Refused if there is none."""
    query = select(Sighting).where(Sighting.device == row.id, Sighting.hardware != SAME).order_by(Sighting.last.desc())
    newest = change.session.scalars(query).first()
    if newest is None:
        raise Refused(f"device {row.id} was not seen on other hardware")
    change.note("device.hardware", f"device:{row.id}", row.school, before=row.hardware, after=newest.hardware)
    row.hardware, row.changed = newest.hardware, change.now
    settle(change, row.id)


def of(registry: Registry, schools: frozenset[str] | None) -> dict[str, list[Sighting]]:
    """What was noticed, by device, newest first; of some schools, None: of all."""
    query = select(Sighting).join(Device, Device.id == Sighting.device).where(Device.status == "active")
    if schools is not None:
        query = query.where(Device.school.in_(schools))
    found: dict[str, list[Sighting]] = {}
    with registry.read() as session:
        for row in session.scalars(query.order_by(Sighting.last.desc())):
            found.setdefault(row.device, []).append(row)
    return found
