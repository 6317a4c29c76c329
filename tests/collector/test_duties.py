"""Who of a room measures for all: one, the same as long as it is there, another when it is gone; no simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schoolpulse_agent.wire import Presence as Said
from schoolpulse_collector.duties import DUTIES, GRACE, Duties
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.roster import Roster


class Lab:
    """Two machines in room r, one in q, a simulated one in r."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.now = registry, 0.0
        for device, room in (("a", "r"), ("b", "r"), ("c", "q")):
            registry.enrol(device, "s", room, device, "lab_pc")
        registry.enrol("x", "s", "r", "x", "lab_pc", simulated=True)
        self.roster, self.presence = Roster(registry), Presence()
        self.duties = Duties(self.roster, self.presence, lambda: self.now)

    def hear(self, *devices: str) -> list[str]:
        """Who of them has the duty."""
        for device in devices:
            self.presence.said(device, Said("online", device))
        return [device for device in devices if self.duties.of(device) == DUTIES]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    registry = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.put(School(key="s", name="A"), Room(key="r", school="s", name="B"), Room(key="q", school="s", name="C"))
    yield Lab(registry)
    registry.close()


def test_one_of_each_room_has_it_and_keeps_it(lab: Lab) -> None:
    assert lab.hear("x", "b", "a", "c") == ["b", "c"]
    lab.now = 1000.0
    assert lab.hear("a", "b", "c") == ["b", "c"]


def test_when_it_says_goodbye_another_takes_over_and_stays(lab: Lab) -> None:
    assert lab.hear("a", "b") == ["a"]
    lab.now = GRACE + 1
    lab.presence.said("a", Said("bye", "a"))
    assert lab.hear("b") == ["b"]
    assert lab.hear("a", "b") == ["b"]


def test_one_that_was_revoked_or_moved_has_it_there_no_more(lab: Lab) -> None:
    assert lab.hear("a", "b") == ["a"]
    lab.registry.revoke("a")
    lab.roster.follow()
    assert lab.hear("b", "a") == ["b"]


def test_one_whose_hello_is_just_answered_is_not_taken_for_gone(lab: Lab) -> None:
    assert lab.duties.of("a") == DUTIES and lab.duties.of("b") == ()
    lab.now = GRACE + 1  # and it was not heard again
    assert lab.duties.of("b") == DUTIES and lab.duties.of("nobody") == ()
