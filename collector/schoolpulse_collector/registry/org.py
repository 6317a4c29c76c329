"""Schools, units and rooms, and which school belongs to which unit on which day.

A school belongs to several units at once (ward, cluster ...), each from a day on, up to and without another. Renaming
and merging change one row and no measurement: a school that was merged into another keeps its key, devices, rooms and
memberships, and whoever reads counts it with the school that took it over. Days are ISO text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import Change, Refused, orgvalues
from schoolpulse_collector.registry.model import Membership, Room, School, Unit

Row = School | Unit | Room | Membership
Named = TypeVar("Named", School, Unit, Room)
Added = TypeVar("Added", bound=Row)
FIELDS: dict[type[Row], dict[str, orgvalues.Read]] = {
    School: orgvalues.SCHOOL,
    Unit: orgvalues.UNIT,
    Room: orgvalues.ROOM,
    Membership: orgvalues.MEMBERSHIP,
}
# Reading.


def members(session: Session, day: str) -> dict[str, set[str]]:
    """Unit -> the schools that belong to it directly on this day, each with those that were merged into it."""
    taken = merged(session)
    parts: dict[str, set[str]] = defaultdict(set)
    for old, heir in taken.items():
        parts[heir].add(old)
    found: dict[str, set[str]] = defaultdict(set)
    for unit, school in session.execute(select(Membership.unit, Membership.school).where(_on(day))):
        if school not in taken:
            found[unit] |= {school} | parts.get(school, set())
    return dict(found)


def units_of(session: Session, school: str, day: str) -> list[Unit]:
    """The units that a school, or the one that took it over, belongs to directly on this day, by key."""
    heir = merged(session).get(school, school)
    query = select(Unit).join(Membership, Membership.unit == Unit.key).where(Membership.school == heir, _on(day))
    return list(session.scalars(query.order_by(Unit.key)))


def schools_below(session: Session, units: Collection[str], day: str) -> set[str]:
    """The keys of all schools that belong on this day to one of these units or a unit below, merged ones included."""
    below = select(Unit.key).where(Unit.key.in_(list(units))).cte("below", recursive=True)
    below = below.union(select(Unit.key).where(Unit.parent == below.c.key))  # union, not union all: ends in any case
    query = select(Membership.school).where(Membership.unit.in_(select(below.c.key)), _on(day)).distinct()
    found, taken = set(session.scalars(query)), merged(session)
    return (found - taken.keys()) | {old for old, heir in taken.items() if heir in found}


def merged(session: Session) -> dict[str, str]:
    """Each school that was merged into another -> the school that has it now, however many mergers later."""
    rows = session.execute(select(School.key, School.merged_into).where(School.merged_into.is_not(None)))
    into = {old: new for old, new in rows if new}
    return {old: _end(into, old) for old in into}


def keys_of(session: Session, school: str) -> set[str]:
    """The keys under which a school's devices and samples stand: its own and those of the schools merged into it."""
    return {school} | {old for old, heir in merged(session).items() if heir == school}


# Changing.


def put_school(change: Change, key: str, name: str, **columns: Any) -> School:
    """Add a school, or give one this name and these other columns. Raises Refused, which names the field."""
    if "merged_into" in columns:
        raise Refused("merged_into: dùng merge_school · use merge_school")
    return _put(change, School, {"key": key, "name": name, **columns})


def put_unit(change: Change, key: str, name: str, kind: str, parent: str | None = None) -> Unit:
    """Add a unit, or give one these values. Raises Refused: a field's value, no such parent, a circle of parents."""
    if parent:
        _no_circle(change.session, key, parent)
    return _put(change, Unit, {"key": key, "name": name, "kind": kind, "parent": parent})


def put_room(change: Change, key: str, school: str, name: str) -> Room:
    """Add a room, or give one another name. Raises Refused: a field's value, no such school, another school's room."""
    _known(change.session, School, school, "school")
    known = change.session.get(Room, key)
    if known and known.school != school:
        raise Refused(
            f"school: phòng {key} thuộc trường khác, hãy dùng mã khác · the room is another school's: other key"
        )
    return _put(change, Room, {"key": key, "school": school, "name": name})


def rename_school(change: Change, key: str, name: str) -> School:
    """Give a school another name. Raises Refused if there is no such school, or for the name."""
    return put_school(change, _known(change.session, School, key, "key").key, name)


def rename_unit(change: Change, key: str, name: str) -> Unit:
    """Give a unit another name. Raises Refused if there is no such unit, or for the name."""
    row = _known(change.session, Unit, key, "key")
    return put_unit(change, key, name, row.kind, row.parent)


def merge_school(change: Change, key: str, into: str | None) -> School:
    """Let a school be taken over by another from now on; None takes that back. Nothing else moves."""
    row = _known(change.session, School, key, "key")
    if into:
        _known(change.session, School, into, "merged_into")
        heir = merged(change.session).get(into, into)
        if heir not in (into, key):
            raise Refused(
                f"merged_into: {into} đã sáp nhập vào {heir}, hãy chọn {heir} · choose {heir}, which has {into}"
            )
        if heir == key:
            raise Refused(f"merged_into: {into} chính là {key} hoặc đã sáp nhập vào nó · {into} is {key} or part of it")
    alter(change, row, {"merged_into": into or None}, "school.merge" if into else "school.unmerge")
    return row


def merge_unit(change: Change, key: str, into: str) -> Unit:
    """Put a unit below the one that takes it over, so that all below it belongs there too; schools keep their rows."""
    row = _known(change.session, Unit, key, "key")
    _no_circle(change.session, key, into)
    alter(change, row, {"parent": into}, "unit.merge")
    return row


def join(change: Change, school: str, unit: str, day: str = "", until: str = "") -> Membership:
    """Let a school belong to a unit from a day on (empty: always did), up to and without another (empty: open end)."""
    values = _checked(Membership, {"school": school, "unit": unit, "valid_from": day, "valid_to": until})
    start, end = values["valid_from"], values["valid_to"]
    _known(change.session, School, school, "school")
    _known(change.session, Unit, unit, "unit")
    if end and start >= end:
        raise Refused(f"valid_to: {end} phải sau {start} · must be after valid_from")
    for row in _periods(change.session, school, unit):
        if row.valid_from == start:
            continue
        if (not row.valid_to or start < row.valid_to) and (not end or row.valid_from < end):
            raise Refused(
                f"valid_from: {school} đã thuộc {unit} từ {row.valid_from or '...'} đến {row.valid_to or '...'}"
                f" · {school} is in {unit} then already: let it leave first"
            )
    same = next((row for row in _periods(change.session, school, unit) if row.valid_from == start), None)
    if same is None:
        return add(change, Membership(**values))
    alter(change, same, {"valid_to": end})
    return same


def leave(change: Change, school: str, unit: str, day: str) -> None:
    """From this day on the school belongs to the unit no more; on the day it joined: it never did, the row goes."""
    end = orgvalues.day(day)
    if not end:
        raise Refused("valid_to: ghi ngày rời đi · name the day")
    for row in _periods(change.session, school, unit):
        if row.valid_from <= end and (not row.valid_to or end < row.valid_to):
            if row.valid_from < end:
                alter(change, row, {"valid_to": end})
            else:
                before = {"valid_from": row.valid_from, "valid_to": row.valid_to}
                change.note("membership.remove", _subject(row), school, before=before)
                change.session.delete(row)
                change.session.flush()
            return
    raise Refused(f"school: {school} không thuộc {unit} vào ngày {end} · {school} is not in {unit} on {end}")


def add(change: Change, row: Added) -> Added:
    """Add a row whose values are good, into the audit too."""
    change.session.add(row)
    values = {field: value for field in _fields(row) if (value := getattr(row, field)) not in (None, "")}
    change.note(f"{row.__tablename__}.add", _subject(row), _school(row), after=values)
    return row


def alter(change: Change, row: Row, columns: Mapping[str, Any], action: str = "") -> None:
    """Give a row these values, which are good, into the audit too if any is another."""
    before = {field: getattr(row, field) for field, value in columns.items() if getattr(row, field) != value}
    if before:
        after = {field: columns[field] for field in before}
        for field, value in after.items():
            setattr(row, field, value)
        action = action or f"{row.__tablename__}.{'rename' if list(after) == ['name'] else 'alter'}"
        change.note(action, _subject(row), _school(row), before=before, after=after)


def _put(change: Change, table: type[Named], columns: dict[str, Any]) -> Named:
    values = _checked(table, columns)
    row = change.session.get(table, values["key"])
    if row:
        alter(change, row, values)
    else:
        row = add(change, table(**values))
    change.session.flush()  # what comes next may refer to it
    return row


def _checked(table: type[Row], columns: Mapping[str, Any]) -> dict[str, Any]:
    read = FIELDS[table]
    values = {}
    for field, value in columns.items():
        try:
            values[field] = read[field](value)
        except orgvalues.Wrong as why:
            raise Refused(f"{field}: {why}") from None
        except KeyError:
            raise Refused(f"{field}: không có trường dữ liệu này · there is no such field") from None
    return values


def _known(session: Session, table: type[Named], key: str, field: str) -> Named:
    row = session.get(table, key)
    if row is None:
        raise Refused(f"{field}: không có mã {key!r} · there is no {table.__tablename__} {key!r}")
    return row


def _no_circle(session: Session, key: str, parent: str) -> None:
    seen, at = set[str](), _known(session, Unit, parent, "parent")
    while at.key not in seen:
        if at.key == key:
            raise Refused(f"parent: {parent} nằm dưới {key}, sẽ thành vòng · {parent} is {key} or below it: a circle")
        seen.add(at.key)
        at = (session.get(Unit, at.parent) if at.parent else None) or at


def _end(into: Mapping[str, str], key: str) -> str:
    seen = {key}
    while (key := into.get(key, key)) not in seen:
        seen.add(key)
    return key


def _periods(session: Session, school: str, unit: str) -> list[Membership]:
    query = select(Membership).where(Membership.school == school, Membership.unit == unit)
    return list(session.scalars(query.order_by(Membership.valid_from)))


def _on(day: str) -> ColumnElement[bool]:
    return and_(Membership.valid_from <= day, or_(Membership.valid_to == "", Membership.valid_to > day))


def _fields(row: Row) -> dict[str, orgvalues.Read]:
    return FIELDS[type(row)]


def _subject(row: Row) -> str:
    return f"membership:{row.school}/{row.unit}" if isinstance(row, Membership) else f"{row.__tablename__}:{row.key}"


def _school(row: Row) -> str:
    return row.key if isinstance(row, School) else "" if isinstance(row, Unit) else row.school
