"""Inventories in both databases: what is different is told, what a device invents fills no table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.parts import inventory_of
from schoolpulse_collector.registry import Registry, agents, equipment
from schoolpulse_collector.registry.agents import Running

PARTS: dict[str, dict[str, Any]] = {
    "system": {"uuid": "u1", "serial": "S1"},
    "memory,slot=A1": {"size": 8 * 2**30},
    "memory,slot=B1": {"size": 8 * 2**30},
    "disk,serial=X": {"model": "KINGSTON", "size": 240057409536},
    "os": {"id": "debian", "version": "12", "name": "Debian"},
}
values = st.integers(0, 3) | st.sampled_from(["a", "b"])
machines = st.dictionaries(
    st.sampled_from([*PARTS, "gpu,slot=1"]),
    st.dictionaries(st.sampled_from(["uuid", "serial", "size"]), values, min_size=1),
)


@pytest.fixture(autouse=True)
def device(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
    registry.enrol("d2", "s2", "r2", "PC-02", "lab_pc")


def put(registry: Registry, parts: dict[str, dict[str, Any]], device: str = "d1") -> None:
    with registry.change("system") as change:
        equipment.put(change, device, inventory_of(parts))


def told(registry: Registry, device: str = "d1") -> list[tuple[str, str, str, Any, Any]]:
    with registry.read() as session:
        found = equipment.changes(session, device, 0, 1000)
    return [(row.what, row.part, row.field, json.loads(row.before), json.loads(row.after)) for row in reversed(found)]


def test_memory_that_is_gone_and_a_swapped_disk_are_told_of_their_device_alone(registry: Registry) -> None:
    put(registry, PARTS)
    put(registry, PARTS)
    put(registry, PARTS, "d2")
    assert told(registry) == []
    after = {key: fields for key, fields in PARTS.items() if key not in ("memory,slot=B1", "disk,serial=X")}
    put(registry, {**after, "disk,serial=Y": {"size": 1}, "os": {**PARTS["os"], "version": "13"}})
    assert told(registry) == [
        ("removed", "memory,slot=B1", "", PARTS["memory,slot=B1"], None),
        ("removed", "disk,serial=X", "", PARTS["disk,serial=X"], None),
        ("added", "disk,serial=Y", "", None, {"size": 1}),
        ("changed", "os", "version", "12", "13"),
    ]
    assert told(registry, "d2") == []


def test_an_id_that_moved_to_another_machine_shows_as_that(registry: Registry) -> None:
    put(registry, PARTS)
    put(registry, {**PARTS, "system": {"uuid": "u2", "serial": "S1"}})
    assert told(registry) == [("machine", "system", "uuid", "u1", "u2")]


def test_a_device_that_invents_parts_fills_no_table(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equipment, "MOST_CHANGES", 20)
    monkeypatch.setattr(equipment, "MOST_AT_ONCE", 8)
    for turn in range(6):
        put(registry, {f"gpu,slot={turn}-{number}": {"id": "x"} for number in range(30)})
    assert len(told(registry)) == 20
    assert told(registry)[-1][:2] == ("removed", "gpu,slot=4-7")


@given(machines, machines)
def test_differences_lead_from_one_inventory_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    made = json.loads(json.dumps(before))
    for what, part, field, _, new in equipment.differences(before, after):
        if what == "removed":
            del made[part]
        elif what == "added":
            made[part] = dict(new)
        elif new is None:
            del made[part][field]
        else:
            made[part][field] = new
    assert made == after


def test_systems_and_agents_are_counted_in_the_schools_that_are_asked_for(registry: Registry) -> None:
    put(registry, PARTS)
    put(registry, PARTS, "d2")
    with registry.change("system") as change:
        agents.put(change, "d1", Running("0.1.0", "", f"{'a' * 16} no report arrived under it"))
        agents.put(change, "d2", Running("0.1.0"))
    with registry.read() as session:
        assert [tuple(row) for row in equipment.systems(session, None)] == [("debian", "12", "", "Debian", 2)]
        assert [tuple(row) for row in agents.versions(session, {"s2"})] == [("0.1.0", 1)]
        assert [tuple(row) for row in agents.refusals(session, None)] == [(f"{'a' * 16} no report arrived under it", 1)]
        assert agents.refusals(session, {"s2"}) == []
    registry.revoke("d2")
    with registry.read() as session:
        assert [tuple(row) for row in agents.versions(session, None)] == [("0.1.0", 1)]
