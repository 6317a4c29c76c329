"""The centre's look at a rollout, each minute, from what agents said and when they were heard, to the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import wait_until

from schoolpulse_agent.package import Manifest
from schoolpulse_agent.wire import Presence as Said
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import Registry, rollouts
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.rolling import SETTLE, Rolling
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.steering import Steering
from schoolpulse_collector.store import Last
from schoolpulse_collector.waves import Rollout

MANIFEST = Manifest("0.2.0", "ab" * 32, 91_180, "3.9", "c2ln")
PILOTS, OTHERS = [f"d{number}" for number in range(10)], [f"e{number}" for number in range(10)]


class Silent:
    """A publisher that nobody hears."""

    connected = False

    def retain(self, topic: str, payload: bytes) -> None:
        raise AssertionError(f"{topic}: {payload!r}")


class Office:
    """One school's ten machines and another's, and what the centre knows of them."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        for school, devices in (("s1", PILOTS), ("s2", OTHERS)):
            self.registry.put(School(key=school, name=school), Room(key=f"r-{school}", school=school, name="Phòng"))
            for device in devices:
                self.registry.enrol(device, school, f"r-{school}", device, "lab_pc")
        self.registry.enrol("sim", "s1", "r-s1", "sim", "lab_pc", simulated=True)
        with self.registry.change("person:lan") as change:
            self.rollout = rollouts.start(change, MANIFEST, pilots=["s1"])
        self.now = self.rollout.since / 1000 + 1
        self.begin(Latest())

    def begin(self, latest: Latest) -> None:
        """As a centre that has just been started."""
        counters = Counters()
        self.presence, self.roster = Presence(lambda: self.now), Roster(self.registry)
        self.fleet = Fleet(self.registry, lambda topic, payload: None, counters)
        zone = "Asia/Ho_Chi_Minh"
        self.steering = Steering(self.registry, self.roster, self.fleet, Silent(), counters, zone)
        parts = (self.registry, self.roster, self.fleet, self.presence)
        self.rolling = Rolling(*parts, latest, lambda: self.now)

    def say(self, device: str, agent: str, refused: str = "") -> None:
        said = Said("online", "session", agent=agent, refused=refused)
        self.presence.said(device, said)
        self.fleet.said(device, said)

    def look(self) -> Rollout:
        self.rolling.look()
        with self.registry.read() as session:
            return rollouts.find(session, self.rollout.id)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.registry.close()


def test_machines_of_the_wave_are_offered_it_and_who_has_it_is_told_when_it_is_withdrawn(office: Office) -> None:
    wanted = office.steering.wanted
    office.say("d0", "0.1.0")
    assert wanted("d0").update == MANIFEST._asdict() and wanted("d0").version
    assert wanted("e0").update is None and wanted("e0").version == ""
    office.say("d0", "0.2.0")
    with office.registry.change("person:lan") as change:
        rollouts.withdraw(change, office.rollout.id)
    assert office.steering._changed()
    assert wanted("d0").update == {"version": "0.2.0", "withdrawn": True}
    assert wanted("d1").update is None
    office.say("d0", "0.1.0", "agent 0.2.0 withdrawn by the centre")
    assert wanted("d0").update is None and wanted("d0").version == ""


def test_one_look_that_fails_is_not_the_last(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look() -> None:
        looks.append(office.now)
        if len(looks) == 1:
            raise KeyError("a mistake")

    monkeypatch.setattr("schoolpulse_collector.rolling.LOOK", 0.01)
    monkeypatch.setattr(office.rolling, "look", look)
    office.rolling.start()
    wait_until(lambda: len(looks) > 1 and office.rolling.works, 10, "it looks again")
    office.rolling.stop()


def test_a_wave_that_goes_well_is_followed_by_the_next(office: Office) -> None:
    office.now += 25 * 3600
    for number, device in enumerate(PILOTS):
        office.say(device, "0.2.0" if number < 8 else "0.1.0")
    office.say("sim", "0.1.0")
    found = office.rolling.count(office.rollout)
    assert (found.heard, found.updated) == (10, 8)
    assert office.look().wave == office.rollout.wave_of("s2")


def test_one_that_is_refused_is_withdrawn_by_itself_and_says_why(office: Office) -> None:
    office.now += SETTLE + 1
    for device in PILOTS:
        office.say(device, "0.1.0", "agent 0.2.0 no report arrived under it" if device > "d6" else "")
    found = office.look()
    assert found.state == "withdrawn" and "3 of 10 devices refuse it" in found.why


def test_a_centre_that_has_just_been_started_judges_nothing_and_remembers_who_fell_silent(office: Office) -> None:
    office.now += 3600
    office.begin(Latest([Last(device, "mem", office.rollout.since + 1000, {"x": 1.0}) for device in PILOTS]))
    for device in OTHERS:
        office.say(device, "0.1.0")
    assert office.look().state == "running"
    office.now += SETTLE
    found = office.look()
    assert found.state == "withdrawn" and "10 are silent (0 of 10 elsewhere)" in found.why
