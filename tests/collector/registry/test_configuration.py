"""What is wanted of agents, in both databases: only of places that there are, only what can be followed, all audited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schoolpulse_collector.registry import Refused, Registry, audit, configuration
from schoolpulse_collector.registry.configuration import Place

SLOW: dict[str, Any] = {"reports": {"interval": 120}}


def test_each_change_is_in_the_audit_of_the_place_it_is_for_and_no_change_is_not(registry: Registry) -> None:
    with registry.change("person:t") as change:
        configuration.put(change, Place("room", "r1"), SLOW)
        configuration.put(change, Place("room", "r1"), SLOW)
    with registry.change("person:t") as change:
        configuration.put(change, Place("room", "r1", "lab_pc"), {})
        assert configuration.clear(change, Place("room", "r1"))
        assert not configuration.clear(change, Place("room", "r1"))
    with registry.read() as session:
        rows = [row for row in audit.rows(session) if row.action.startswith("configuration.")]
        assert [(row.action, row.subject, row.school, row.actor) for row in rows] == [
            ("configuration.put", "room:r1", "s1", "person:t"),
            ("configuration.put", "room:r1 lab_pc", "s1", "person:t"),
            ("configuration.clear", "room:r1", "s1", "person:t"),
        ]
        assert json.loads(rows[0].detail) == {"before": None, "after": SLOW}
        assert [(row.scope, row.key, row.kind) for row in configuration.everything(session)] == [
            ("room", "r1", "lab_pc")
        ]


@pytest.mark.parametrize(
    "place",
    [Place("school", "s9"), Place("centre", "s1"), Place("school", ""), Place("planet", "x"), Place("unit", "u")],
)
def test_a_place_that_there_is_not_is_refused(registry: Registry, place: Place) -> None:
    with pytest.raises(Refused, match="there is no"), registry.change("person:t") as change:
        configuration.put(change, place, SLOW)


def test_a_school_sees_its_own_and_the_centres(registry: Registry) -> None:
    with registry.change("person:t") as change:
        for place in (Place("centre"), Place("school", "s1"), Place("room", "r2"), Place("school", "s2")):
            configuration.put(change, place, SLOW)
    with registry.read() as session:
        seen = [(row.scope, row.key) for row in configuration.of_schools(session, frozenset({"s1"}))]
        assert seen == [("centre", ""), ("school", "s1")]
        assert len(configuration.of_schools(session, None)) == 4


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"reports": {"interval": float("nan")}}, "interval|JSON"),
        ({"reports": {"interval": "\ud800"}}, "surrogates|interval"),
        ({"reports": "fast"}, "reports"),
        ({"probe": []}, "probe"),
        ({"device": {"id": "d9"}}, "device"),
        ({"probe": {"disk": {"enabled": "x" * 2000}}}, "bytes"),
    ],
)
def test_what_can_not_be_followed_is_refused_and_named(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        configuration.judge(wanted)


def test_settings_are_folded_key_by_key() -> None:
    wide, narrow = (
        {"probe": {"disk": {"enabled": True, "a": 1}}, "reports": {"interval": 1}},
        {"probe": {"disk": {"a": 2}}},
    )
    assert configuration.folded([wide, narrow]) == {
        "probe": {"disk": {"enabled": True, "a": 2}},
        "reports": {"interval": 1},
    }
    assert wide["probe"] == {"disk": {"enabled": True, "a": 1}}
