"""A rollout in a city of the test's own, hour by hour: it spreads when all goes well and goes back when it does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.package import Manifest
from schoolpulse_collector import waves
from schoolpulse_collector.registry.agents import Running
from schoolpulse_collector.waves import Count, Device, Rollout, count, judge, offer

OLD, NEW = "0.1.0", "0.2.0"
HOUR, MINUTE = 3_600_000, 60_000
SCHOOLS = [f"truong-{number}" for number in range(100, 300)]
MANIFEST = Manifest(NEW, "0" * 64, 1000, "3.9", "signed")


def rollout(**change: object) -> Rollout:
    made = Rollout(1, MANIFEST, "running", (1.0, 10.0, 100.0), frozenset(), 0, 0, 24.0, "")
    return made._replace(**change)  # type: ignore[arg-type]


@dataclass
class Machine:
    """One machine. ``fate``: what becomes of it when the new version comes."""

    school: str
    fate: str = "good"  # good, refuses, dies, slow (never gets round to it), off (updates are)
    online: bool = True
    seen: int = 0
    running: Running = field(default_factory=lambda: Running(OLD))


@dataclass
class City:
    """Schools with ten machines each, told of a rollout and judged at each step, as the centre does each minute."""

    rollout: Rollout = field(default_factory=rollout)
    now: int = 0
    night: bool = False

    def __post_init__(self) -> None:
        self.machines = [Machine(school) for school in SCHOOLS for _ in range(10)]

    def fates(self, fate: str, each: int = 1) -> City:
        """Give every so many-th machine of each school this fate."""
        for at, machine in enumerate(self.machines):
            if at % 10 % each == 0:
                machine.fate = fate
        return self

    def pass_(self, minutes: int, step: int = 1) -> City:
        for _ in range(0, minutes, step):
            self.now += step * MINUTE
            for machine in self.machines:
                self._live(machine)
            devices = [Device(m.school, m.online, m.seen, m.running) for m in self.machines]
            next_ = judge(self.rollout, count(self.rollout, devices, self.now), self.now, SCHOOLS)
            if (next_.state, next_.wave) != (self.rollout.state, self.rollout.wave):
                self.rollout = self.rollout._replace(since=self.now, **next_._asdict())
        return self

    def _live(self, machine: Machine) -> None:
        dead = machine.fate == "dies" and machine.running.agent == NEW
        machine.online = not self.night and not dead
        if not machine.online:
            return
        machine.seen = self.now
        wanted = offer([self.rollout], machine.school, machine.running.agent)
        if wanted is None or wanted["version"] != NEW or machine.fate == "slow":
            return
        if wanted.get("withdrawn"):
            machine.running = Running(OLD, "", f"agent {NEW} withdrawn by the centre")
        elif machine.fate == "refuses":
            machine.running = Running(OLD, "", f"agent {NEW} no report arrived under it")
        elif machine.fate == "off":
            machine.running = Running(OLD, "", f"agent {NEW} updates are off here")
        else:
            machine.running = Running(NEW)

    def updated(self) -> int:
        return sum(machine.running.agent == NEW for machine in self.machines)


def reached(each: Rollout) -> int:
    return sum(each.reaches(school) for school in SCHOOLS)


# Whom it reaches


def test_a_schools_wave_follows_from_its_key_alone_and_shares_are_about_right() -> None:
    many = [f"s{number}" for number in range(20_000)]
    found = [rollout().wave_of(school) for school in many]
    assert found == [rollout(id=2, wave=1).wave_of(school) for school in many]
    assert [round(found.count(wave) / 200) for wave in range(4)] == [1, 9, 90, 0]


def test_pilots_come_first_and_are_in_no_other_wave() -> None:
    made = rollout(pilots=frozenset(SCHOOLS[:2]))
    assert made.last == 3 and [made.wave_of(school) for school in SCHOOLS[:2]] == [0, 0]
    assert {made.wave_of(school) for school in SCHOOLS[2:]} <= {1, 2, 3}
    assert reached(made) == 2 and reached(made._replace(wave=3)) == len(SCHOOLS)


@given(st.lists(st.floats(0.01, 99.9), max_size=5).map(lambda some: (*sorted(set(some)), 100.0)), st.text(min_size=1))
def test_every_school_is_in_one_wave_and_the_last_reaches_all(percents: tuple[float, ...], school: str) -> None:
    made = rollout(waves=percents)
    assert 0 <= made.wave_of(school) <= made.last
    assert made._replace(wave=made.last).reaches(school)


# What is offered


def test_nobody_is_offered_less_than_what_runs_and_who_has_what_is_withdrawn_is_told() -> None:
    done = rollout(state="done", wave=2)
    newest = rollout(id=2, manifest=MANIFEST._replace(version="0.3.0"), pilots=frozenset(["s"]))
    assert offer([newest, done], "s", OLD) == newest.manifest._asdict()
    assert offer([newest, done], SCHOOLS[0], OLD) == done.manifest._asdict()
    assert offer([newest._replace(state="paused"), done], "s", "0.3.0") is None  # and no older one
    assert offer([newest._replace(state="paused"), done], "s", OLD) == done.manifest._asdict()
    gone = newest._replace(state="withdrawn")
    assert offer([gone, done], "elsewhere", "0.3.0") == {"version": "0.3.0", "withdrawn": True}
    assert offer([gone, done], "s", OLD) == done.manifest._asdict()
    assert offer([gone], "s", OLD) is None
    assert offer([done], "s", "") == done.manifest._asdict() == offer([done], "s", NEW)


# How it goes


def test_a_good_version_reaches_all_schools_in_three_days() -> None:
    city = City().pass_(30)
    first = reached(city.rollout)
    assert 0 < first < 10 and city.updated() == first * 10
    city.pass_(24 * 60, 30)
    assert city.rollout.wave == 1 and 10 < reached(city.rollout) < 40
    city.pass_(24 * 60, 30)
    assert (city.rollout.state, city.rollout.wave, reached(city.rollout)) == ("running", 2, len(SCHOOLS))
    city.pass_(24 * 60, 30)
    assert (city.rollout.state, city.updated()) == ("done", 2000)


def test_one_that_agents_refuse_is_withdrawn_within_minutes_and_reaches_nobody_else() -> None:
    city = City().fates("refuses", each=3).pass_(5)
    assert city.rollout.state == "withdrawn" and "refuse it" in city.rollout.why
    city.pass_(5)
    assert city.updated() == 0  # all have gone back
    city.pass_(3 * 24 * 60, 60)
    assert city.rollout.state == "withdrawn" and city.updated() == 0


def test_one_under_which_agents_fall_silent_is_withdrawn_after_half_an_hour() -> None:
    city = City().fates("dies", each=2).pass_(29)
    assert city.rollout.state == "running"
    city.pass_(10)
    assert city.rollout.state == "withdrawn" and "are silent" in city.rollout.why
    assert {m.running.agent for m in city.machines if m.online} == {OLD}


def test_a_night_or_a_cut_of_the_whole_city_is_not_held_against_it() -> None:
    city = City().pass_(60, 10)
    city.night = True
    city.pass_(14 * 60, 10)
    assert city.rollout.state == "running" and city.rollout.wave == 0
    city.night = False
    city.pass_(10 * 60, 10)
    assert city.rollout.wave == 1


def test_a_few_broken_machines_neither_stop_nor_withdraw_it() -> None:
    city = City().fates("dies", each=10).pass_(3 * 24 * 60 + 90, 30)
    assert city.rollout.state == "done"


def test_where_too_few_take_it_the_wave_waits_and_nobody_is_harmed() -> None:
    city = City().fates("slow", each=3).pass_(5 * 24 * 60, 60)
    assert (city.rollout.state, city.rollout.wave) == ("running", 0)


@pytest.mark.parametrize("each, updated", [(2, 1000), (1, 0)])
def test_machines_that_take_no_updates_count_nowhere_and_do_not_hold_it_up(each: int, updated: int) -> None:
    city = City().fates("off", each).pass_(3 * 24 * 60 + 90, 30)
    assert city.rollout.state == "done" and city.updated() == updated


def test_the_last_wave_is_compared_with_those_before_it() -> None:
    city = City(rollout(wave=1)).pass_(24 * 60, 30)
    assert city.rollout.wave == 2 and city.updated() < 1000
    for machine in [m for m in city.machines if city.rollout.wave_of(m.school) == 2][::2]:
        machine.fate = "dies"
    city.pass_(40)
    assert city.rollout.state == "withdrawn"


def test_a_paused_one_is_offered_to_nobody_more_and_still_watched() -> None:
    city = City(rollout(state="paused")).pass_(48 * 60, 60)
    assert city.updated() == 0 and city.rollout.state == "paused"
    for machine in city.machines[:100]:
        machine.running = Running(OLD, "", f"agent {NEW} it ended 3 times while it was tried")
    city.rollout = city.rollout._replace(wave=2)
    city.pass_(1)
    assert city.rollout.state == "paused"  # 100 of 2,000 are too few
    city.rollout = city.rollout._replace(pilots=frozenset(SCHOOLS[:10]), wave=0)
    city.pass_(1)
    assert city.rollout.state == "withdrawn"


# At the edges of the policy


@pytest.mark.parametrize(
    "found, state",
    [
        (Count(heard=1, refused=1), "running"),  # one machine says nothing about a version
        (Count(heard=2, refused=2), "withdrawn"),
        (Count(heard=10, refused=2), "running"),  # exactly a fifth
        (Count(heard=9, refused=2), "withdrawn"),
        (Count(heard=100, silent=100, others=9), "running"),  # nobody to compare with
        (Count(heard=100, silent=100, others=100, others_silent=100), "running"),  # a night
        (Count(heard=100, silent=70, others=100, others_silent=50), "running"),
        (Count(heard=100, silent=71, others=100, others_silent=50), "withdrawn"),
        (Count(heard=100, refused=10, silent=11, others=100), "withdrawn"),
        (Count(), "running"),
    ],
)
def test_what_counts_as_bad(found: Count, state: str) -> None:
    assert judge(rollout(), found, HOUR, SCHOOLS).state == state


@pytest.mark.parametrize(
    "found, hours, wave",
    [
        (Count(heard=10, updated=8, awake=1), 24.0, 1),
        (Count(heard=11, updated=11, awake=1), 24.0, 0),  # nearly all are off, or dead
        (Count(heard=10, updated=7, awake=7), 24.0, 0),
        (Count(heard=10, updated=10, awake=10), 23.9, 0),
        (Count(off=5), 24.0, 1),
        (Count(), 24.0, 0),  # nobody has been heard: a holiday
    ],
)
def test_when_the_next_wave_follows(found: Count, hours: float, wave: int) -> None:
    assert judge(rollout(), found, int(hours * HOUR), SCHOOLS).wave == wave


def test_what_dies_in_a_night_reaches_nobody_more_before_the_morning_tells() -> None:
    city = City().fates("dies").pass_(1)
    city.night = True
    city.pass_(30 * 60, step=10)  # longer than the wave's hours: all are off, those that died too
    assert (city.rollout.state, city.rollout.wave) == ("running", 0)
    city.night = False
    city.pass_(2)
    assert city.rollout.state == "withdrawn"


def test_waves_that_reach_no_school_are_left_out() -> None:
    few = [school for school in SCHOOLS if rollout().wave_of(school) == 2][:3]
    made = rollout(wave=waves.first_wave(rollout(), few))
    assert judge(rollout(), Count(heard=3, updated=3, awake=3), 24 * HOUR, few).wave == 2
    assert judge(made, Count(heard=3, updated=3, awake=3), 24 * HOUR, few).state == "done" and made.wave == 2
