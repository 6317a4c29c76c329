"""Who acts in which role: granted, withdrawn, and following an OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from schoolpulse_collector.registry import Refused, Registry, grants, people, tokens
from schoolpulse_collector.registry.grants import Wanted
from schoolpulse_collector.registry.model import Audit, Person, School, Unit


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    made.put(School(key="s1", name="Tiểu học Đống Đa"))
    with made.change("system") as change:
        change.session.add(Unit(key="w7", name="Phường 7", kind="ward"))
    yield made
    made.close()


@pytest.fixture
def lan(registry: Registry) -> Person:
    with registry.change("system") as change:
        return people.add(change, "lan", "Lan")


def held(registry: Registry, person: Person) -> list[tuple[str, str | None, str | None, str]]:
    with registry.read() as session:
        return [(each.role, each.unit, each.school, each.source) for each in grants.of_person(session, person.id)]


def test_a_role_is_granted_once_and_taken_back_by_number(registry: Registry, lan: Person) -> None:
    with registry.change("person:root") as change:
        first = grants.grant(change, lan.id, role="technician", school="s1")
        again = grants.grant(change, lan.id, role="technician", school="s1")
        grants.grant(change, lan.id, role="viewer", unit="w7")
        assert first.id == again.id
    assert held(registry, lan) == [("technician", None, "s1", "local"), ("viewer", "w7", None, "local")]
    with registry.change("person:root") as change:
        grants.withdraw(change, first.id)
    assert held(registry, lan) == [("viewer", "w7", None, "local")]
    with registry.read() as session:
        rows = list(session.scalars(select(Audit).where(Audit.action.startswith("grant"))))
    assert [(row.action, row.actor, row.subject, row.school) for row in rows] == [
        ("grant.add", "person:root", "person:lan", "s1"),
        ("grant.add", "person:root", "person:lan", ""),
        ("grant.withdraw", "person:root", "person:lan", "s1"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "king"},
        {"role": "viewer", "unit": "w8"},
        {"role": "viewer", "school": "s9"},
        {"role": "viewer", "school": ""},
        {"role": "viewer", "unit": "w7", "school": "s1"},
    ],
)
def test_what_is_no_role_or_place_is_refused(registry: Registry, lan: Person, wrong: dict[str, str]) -> None:
    with pytest.raises(Refused), registry.change("system") as change:
        grants.grant(change, lan.id, **wrong)
    assert held(registry, lan) == []


def test_withdrawing_what_nobody_has_is_refused(registry: Registry) -> None:
    with pytest.raises(Refused), registry.change("system") as change:
        grants.withdraw(change, 7)


def test_the_providers_grants_follow_it_and_local_ones_stay(registry: Registry, lan: Person) -> None:
    with registry.change("system") as change:
        grants.grant(change, lan.id, role="viewer")
        grants.replace_oidc(change, lan, [Wanted("technician", school="s1"), Wanted("viewer")])
    assert sorted(held(registry, lan)) == [
        ("technician", None, "s1", "oidc"), ("viewer", None, None, "local"), ("viewer", None, None, "oidc"),
    ]  # fmt: skip
    with registry.change("system") as change:
        grants.replace_oidc(change, lan, [Wanted("technician", school="s1")])
        assert [note.action for note in change.notes] == ["grant.withdraw"]  # what stays is not told again
        grants.replace_oidc(change, lan, [])
    assert held(registry, lan) == [("viewer", None, None, "local")]


def test_tokens_and_people_with_the_same_number_share_nothing(registry: Registry, lan: Person) -> None:
    with registry.change("system") as change:
        token, _ = tokens.issue(change, "backup", None, [("operator", None, None)])
        grants.grant(change, lan.id, role="viewer")
        assert token.id == lan.id
        assert [each.role for each in grants.of_person(change.session, lan.id)] == ["viewer"]
        assert [each.role for each in grants.of_token(change.session, token.id)] == ["operator"]
        with pytest.raises(ValueError, match="person or a token"):
            grants.grant(change, role="viewer")
