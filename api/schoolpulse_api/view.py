"""The centre as one caller may see it: every question and every change goes through here, and is limited here.

What lies outside the caller's schools is as if it were not there (`Missing`); what they see but may not do is
`Forbidden`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import generate_latest
from sqlalchemy.orm import Session

from schoolpulse_agent.remote import Config
from schoolpulse_api.centre import Centre
from schoolpulse_collector import clones
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.presence import State
from schoolpulse_collector.registry import Change, audit, configuration, devices, equipment
from schoolpulse_collector.registry.agents import Running
from schoolpulse_collector.registry.model import (
    Audit,
    Configuration,
    Device,
    Inventory,
    InventoryChange,
    Room,
    School,
    Sighting,
)
from schoolpulse_collector.registry.rights import Rights
from schoolpulse_collector.series import Frame, Series
from schoolpulse_collector.waves import Count, Rollout

if TYPE_CHECKING:
    from schoolpulse_api.access import Access, Caller


class Missing(Exception):
    """There is nothing of that name that this caller may see."""


class Forbidden(Exception):
    """The caller may see this but not do it; the message says which role it takes."""


class SignedOut(Exception):
    """The caller's session or token has ended."""


class View:
    """One caller's view, good for as long as their session: what they may is looked up anew each time."""

    def __init__(self, centre: Centre, access: Access, shown: tuple[str, str]) -> None:
        self.feed, self.time_zone = centre.feed, centre.settings.time_zone
        self.settings = centre.settings
        self._centre, self._access, self._shown = centre, access, shown

    @property
    def caller(self) -> Caller:
        """Who looks. Raises SignedOut."""
        found = self._access.caller(*self._shown)
        if found is None or found.stage != "full":
            raise SignedOut("the session has ended: sign in again")
        return found

    @property
    def rights(self) -> Rights:
        """What they may."""
        return self.caller.rights

    def require(self, role: str, school: str = "") -> None:
        """Raise Missing where the caller sees nothing, Forbidden where they see but may not; no school: the centre."""
        rights = self.rights
        if school and not rights.may("viewer", school):
            raise Missing(f"there is no school {school!r}")
        if not rights.may(role, school):
            raise Forbidden(f"this needs the role {role}" + (f" in school {school}" if school else ""))

    @contextmanager
    def read(self, role: str, school: str = "") -> Iterator[Session]:
        """The registry, for questions about one school, or (no school named) about the centre itself."""
        self.require(role, school)
        with self._centre.registry.read() as session:
            yield session

    @contextmanager
    def change(self, role: str, school: str = "") -> Iterator[Change]:
        """A change in one school, or (no school named) of the centre itself, under the caller's name."""
        self.require(role, school)
        with self._centre.registry.change(self.caller.name) as change:
            self.require(role, school)  # it may have waited for its turn
            yield change
        self._access.forget()
        self._centre.followed()

    @contextmanager
    def change_device(self, role: str, device_id: str) -> Iterator[tuple[Change, Device]]:
        """A change of one device, which stays in its school meanwhile."""
        device = self.device(device_id)
        with self.change(role, device.school) as change:
            row = change.session.get(Device, device_id)
            if row is None or row.school != device.school:
                raise Missing(f"there is no device {device_id!r}")
            yield change, row

    def schools(self) -> list[School]:
        """The schools that may be seen, by name."""
        return self._centre.registry.schools(self.rights.places("viewer"))

    def school(self, key: str) -> School:
        """One school. Raises Missing."""
        with self.read("viewer", key) as session:
            found = session.get(School, key)
        if found is None:
            raise Missing(f"there is no school {key!r}")
        return found

    def rooms(self, school: str | None = None) -> list[Room]:
        """The rooms, by name, of one school or of all that may be seen. Raises Missing."""
        return self._centre.registry.rooms(self._schools(school))

    def devices(self, school: str | None = None, after: str = "", limit: int = 1000) -> list[Device]:
        """Devices in the order of their ids, of one school or of all that may be seen. Raises Missing."""
        return self._centre.registry.devices(self._schools(school), after, limit)

    def count_devices(self, school: str | None = None) -> int:
        """How many there are. Raises Missing."""
        return self._centre.registry.count_devices(self._schools(school))

    def states(self, school: str | None = None) -> dict[str, Counter[str]]:
        """School -> how many of its devices are in each presence; of one school or of all. Raises Missing."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        with self._centre.registry.read() as session:
            for device, place in devices.ids(session, self._schools(school)):
                found[place][self._centre.presence.of(device).state] += 1
        return found

    def device(self, device_id: str) -> Device:
        """One device. Raises Missing."""
        found = self._centre.registry.device(device_id)
        if found is None or not self.rights.may("viewer", found.school):
            raise Missing(f"there is no device {device_id!r}")
        return found

    def sees(self, device_id: str) -> bool:
        """Whether a device may be seen: quick, for streams; as of at most a second ago."""
        sender = self._centre.roster.get(device_id)
        return sender is not None and self.rights.may("viewer", sender.school)

    def clones(self) -> list[tuple[Device, list[Sighting]]]:
        """Devices whose id more than one machine uses, and those machines."""
        found = clones.of(self._centre.registry, self.rights.places("viewer"))
        return [(self.device(device), rows) for device, rows in found.items()]

    @property
    def authority(self) -> Authority | None:
        """The centre's CA, if it has one."""
        return self._centre.authority

    def presence(self, device: Device) -> State:
        """Whether a device that was found through this view is there. Raises Missing if it may be seen no more."""
        self._require_still(device)
        return self._centre.presence.of(device.id)

    def latest(self, device: Device) -> dict[str, tuple[int, dict[str, float]]]:
        """The last values of a device that was found through this view. Raises Missing if it may be seen no more."""
        self._require_still(device)
        return self._centre.latest.of(device.id)

    def running(self, device: Device) -> Running:
        """What the agent of a device that was found through this view runs. Raises Missing as above."""
        self._require_still(device)
        return self._centre.fleet.running(device.id)

    def wanted(self, device: Device) -> tuple[Config, str]:
        """What the centre wants of this agent, and how it stands to that: as `Steering.state`. Raises Missing."""
        self._require_still(device)
        return self._centre.steering.wanted(device.id), self._centre.steering.state(device.id)

    def inventory(self, device: Device) -> Inventory | None:
        """What a device that was found through this view is made of; None: it has sent none. Raises Missing."""
        self._require_still(device)
        with self._centre.registry.read() as session:
            return equipment.of(session, device.id)

    def inventory_changes(self, device: Device, before: int, limit: int) -> list[InventoryChange]:
        """What changed of it, newest first, before a number (0: all). Raises Missing."""
        self._require_still(device)
        with self._centre.registry.read() as session:
            return equipment.changes(session, device.id, before, limit)

    @contextmanager
    def count_fleet(self) -> Iterator[tuple[Session, frozenset[str] | None]]:
        """The registry, to count what may be seen in it, and the schools that may be; None: all."""
        places = self.rights.places("viewer")
        with self._centre.registry.read() as session:
            yield session, places

    def configurations(self) -> list[Configuration]:
        """What the centre wants of agents, where the caller is in charge of IT, and everywhere."""
        with self._centre.registry.read() as session:
            return configuration.of_schools(session, self.rights.places("area_it"))

    def count_rollout(self, rollout: Rollout) -> Count:
        """How the machines of a rollout fare. Raises Forbidden."""
        self.require("administrator")
        return self._centre.rolling.count(rollout)

    def query(self, series: Series) -> Frame:
        """Values over time of the schools that may be seen. Raises BadQuery, StoreDown."""
        places = self.rights.places("viewer")
        if places is None:
            return self._centre.store.query(series)
        if not places:
            return Frame(series.group_by, [])
        return self._centre.store.query(
            replace(series, where=(*series.where, ("school", "in", "|".join(sorted(places)))))
        )

    def audit(self, subject: str, before: int, limit: int) -> list[Audit]:
        """Changes in the schools whose IT the caller is in charge of, newest first, those before a number (0: all)."""
        places = self.rights.places("area_it")
        if places is None and not self.rights.may("administrator"):  # the centre's own are not an area's
            places = frozenset(school.key for school in self._centre.registry.schools())
        with self._centre.registry.read() as session:
            return audit.newest(session, places, subject, before, limit)

    def metrics(self) -> bytes:
        """The collector's counters. Raises Forbidden."""
        self.require("operator")
        return generate_latest(self._centre.counters.registry)

    def _require_still(self, device: Device) -> None:
        """Pages stay open: meanwhile a device may have moved, or a right ended."""
        sender = self._centre.roster.get(device.id)
        if not self.rights.may("viewer", sender.school if sender else device.school):
            self.device(device.id)  # the roster may be a second behind

    def _schools(self, school: str | None) -> frozenset[str] | None:
        if school is None:
            return self.rights.places("viewer")
        self.require("viewer", school)
        return frozenset([school])
