"""Grants: who acts in which role, where. What a role may do says `rights.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import Change, Refused
from schoolpulse_collector.registry.model import Grant, Person, School, Unit
from schoolpulse_collector.registry.rights import ROLES


class Wanted(NamedTuple):
    """A role in a unit and all below it, or in a school, or (neither named) everywhere."""

    role: str
    unit: str | None = None
    school: str | None = None


def grant(
    change: Change,
    person: int | None = None,
    token: int | None = None,
    *,
    role: str,
    unit: str | None = None,
    school: str | None = None,
    source: str = "local",
) -> Grant:
    """Let a person or a token, by number, act in a role; granted already, it stays one grant. Raises Refused."""
    if (person is None) == (token is None):
        raise ValueError("a grant is for a person or a token")
    if why := problem(change.session, Wanted(role, unit, school)):
        raise Refused(why)
    mine = Grant.token == token if person is None else Grant.person == person
    for known in change.session.scalars(select(Grant).where(mine)):
        if (known.role, known.unit, known.school, known.source) == (role, unit, school, source):
            return known
    row = Grant(person=person, token=token, role=role, unit=unit, school=school, source=source)
    change.session.add(row)
    change.session.flush()
    _note(change, "grant.add", row)
    return row


def withdraw(change: Change, grant_id: int) -> None:
    """Take a grant back. Raises Refused if there is none with this number."""
    row = change.session.get(Grant, grant_id)
    if row is None:
        raise Refused(f"there is no grant {grant_id}")
    _note(change, "grant.withdraw", row)
    change.session.delete(row)
    change.session.flush()


def of_person(session: Session, person_id: int) -> list[Grant]:
    """A person's grants, the oldest first."""
    return list(session.scalars(select(Grant).where(Grant.person == person_id).order_by(Grant.id)))


def of_token(session: Session, token_id: int) -> list[Grant]:
    """A token's grants, the oldest first."""
    return list(session.scalars(select(Grant).where(Grant.token == token_id).order_by(Grant.id)))


def replace_oidc(change: Change, person: Person, wanted: Iterable[Wanted]) -> None:
    """Make these, and no others, the grants that the provider gives a person; local ones stay. Raises Refused."""
    left = set(wanted)
    for row in of_person(change.session, person.id):
        if row.source != "oidc":
            continue
        here = Wanted(row.role, row.unit, row.school)
        if here in left:
            left.remove(here)
        else:
            withdraw(change, row.id)
    for new in sorted(left, key=str):
        grant(change, person.id, role=new.role, unit=new.unit, school=new.school, source="oidc")


def problem(session: Session, wanted: Wanted) -> str:
    """Why this can't be granted to anybody; empty: it can."""
    if wanted.role not in ROLES:
        return f"there is no role {wanted.role!r}: there are {', '.join(ROLES)}"
    if wanted.unit is not None and wanted.school is not None:
        return "a grant is for a unit or for a school, not for both"
    if wanted.unit is not None and session.get(Unit, wanted.unit) is None:
        return f"there is no unit {wanted.unit!r}"
    if wanted.school is not None and session.get(School, wanted.school) is None:
        return f"there is no school {wanted.school!r}"
    return ""


def _note(change: Change, action: str, row: Grant) -> None:
    person = change.session.get(Person, row.person) if row.person else None
    subject = f"person:{person.login}" if person else f"token:{row.token}"
    place = f"unit:{row.unit}" if row.unit else f"school:{row.school}" if row.school else "everywhere"
    change.note(action, subject, row.school or "", id=row.id, role=row.role, place=place, source=row.source)
