"""Clones: two machines with one id are noticed, a restart or a repair is not taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schoolpulse_agent.wire import Presence as Said
from schoolpulse_collector import clones
from schoolpulse_collector.clones import Clones
from schoolpulse_collector.registry import Refused, Registry, RegistryDown, enrolment
from schoolpulse_collector.registry.model import Device, Room, School
from schoolpulse_collector.roster import Roster

OWN, FOREIGN = "a" * 16, "b" * 16


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    made.put(School(key="s1", name="Lạc Hồng"), Room(key="r1", school="s1", name="Phòng máy 1"))
    made.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
    with made.change("system") as change:
        change.session.get_one(Device, "d1").hardware = OWN
    yield made
    made.close()


def noticed(registry: Registry, *hellos: tuple[int, str]) -> list[tuple[str, int]]:
    """What stands in the registry after hellos of (epoch, fingerprint)."""
    watching = Clones(registry, Roster(registry))
    for epoch, hardware in hellos:
        watching.said("d1", Said("online", f"{epoch:x}", epoch, 0, 60.0, hardware))
    watching.keep()
    return [(row.hardware, row.count) for row in clones.of(registry, None).get("d1", [])]


def test_another_machines_fingerprint_is_a_sighting(registry: Registry) -> None:
    assert noticed(registry, (1, OWN), (2, FOREIGN), (1, OWN), (2, FOREIGN)) == [(FOREIGN, 2)]


def test_a_machine_that_takes_turns_with_a_copy_is_no_copy_itself(registry: Registry) -> None:
    assert noticed(registry, *[(1, OWN), (2, FOREIGN)] * 5) == [(FOREIGN, 5)]


def test_what_was_noticed_before_something_was_done_about_it_does_not_come_back(registry: Registry) -> None:
    watching = Clones(registry, Roster(registry))
    watching.said("d1", Said("online", "a", 1, 0, 60.0, FOREIGN))
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, "d1")
        clones.settle(change, "d1")
    watching.said("d1", Said("online", "b", 2, 0, 60.0, FOREIGN))  # it is not cut yet
    watching.keep()
    assert clones.of(registry, None) == {}


def test_restarts_repeated_hellos_and_machines_that_show_nothing_are_not(registry: Registry) -> None:
    assert noticed(registry, *[(epoch, OWN) for epoch in (1, 1, 2, 2, 3, 4, 5)], (6, ""), (7, "")) == []


def test_two_machines_that_look_the_same_take_turns(registry: Registry) -> None:
    assert noticed(registry, *[(1, OWN), (2, OWN)] * 4) == [("", 4)]


def test_one_check_beside_a_running_agent_is_no_clone(registry: Registry) -> None:
    assert noticed(registry, (1, OWN), (2, OWN), (1, OWN)) == []


def test_sightings_add_up_over_restarts_of_the_centre_and_are_audited_once(registry: Registry) -> None:
    noticed(registry, (1, FOREIGN))
    assert noticed(registry, (1, FOREIGN)) == [(FOREIGN, 2)]
    with registry.read() as session:
        from schoolpulse_collector.registry import audit

        assert [row.action for row in audit.rows(session)].count("device.cloned") == 1


def test_a_repaired_machine_can_be_taken_as_the_same(registry: Registry) -> None:
    noticed(registry, (1, FOREIGN))
    with registry.change("person:t") as change:
        clones.accept(change, change.session.get_one(Device, "d1"))
    assert clones.of(registry, None) == {}
    assert noticed(registry, (2, FOREIGN)) == []
    with pytest.raises(Refused), registry.change("person:t") as change:
        clones.accept(change, change.session.get_one(Device, "d1"))


def test_only_devices_of_the_given_schools_are_told(registry: Registry) -> None:
    noticed(registry, (1, FOREIGN))
    assert list(clones.of(registry, frozenset({"s1"}))) == ["d1"] and clones.of(registry, frozenset({"s2"})) == {}


def test_a_device_that_invents_fingerprints_fills_neither_table_nor_audit_nor_memory(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "MOST_SEEN", 5)
    monkeypatch.setattr(clones, "MOST_NOTICED", 8)
    watching = Clones(registry, Roster(registry))
    for number in range(100):
        watching.said("d1", Said("online", "s", number, 0, 60.0, f"{number:016x}"))
    assert len(watching._noticed) == 8
    watching.keep()
    watching._keep_at = 0.0
    watching.said("d1", Said("online", "s", 101, 0, 60.0, "c" * 16))
    watching.keep()
    assert len(clones.of(registry, None)["d1"]) == 5
    with registry.read() as session:
        from schoolpulse_collector.registry import audit

        assert sum(row.action == "device.cloned" for row in audit.rows(session)) == 5


def test_what_was_noticed_while_the_registry_was_away_is_kept_for_later(registry: Registry, tmp_path: Path) -> None:
    watching = Clones(registry, Roster(registry))
    watching.said("d1", Said("online", "s", 1, 0, 60.0, FOREIGN))
    hidden = tmp_path / "hidden"
    registry.engine.dispose()
    (tmp_path / "registry.sqlite").rename(hidden)
    (tmp_path / "registry.sqlite").mkdir()
    with pytest.raises(RegistryDown):
        watching.keep()
    (tmp_path / "registry.sqlite").rmdir()
    hidden.rename(tmp_path / "registry.sqlite")
    watching._keep_at = 0.0
    watching.keep()
    assert [row.hardware for row in clones.of(registry, None)["d1"]] == [FOREIGN]
