"""What each device is made of, and how that has changed: memory that is gone, a disk that was swapped."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from schoolpulse_agent.parts import Inventory as Said
from schoolpulse_agent.parts import Parts
from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.model import Device, Inventory, InventoryChange

MOST_CHANGES = 500  # of one device that are kept, the newest
MOST_AT_ONCE = 60  # of one inventory: a device that invents parts fills no table
MOST_FIELDS = 10  # of a part that came or went: none of ours has more
IDENTITY = ("uuid", "serial")  # of the part `system`: with another of them it is another machine
OS = ("id", "version", "release", "name")


class Difference(NamedTuple):
    """One difference; ``what``: added, removed, changed or machine. ``field`` empty: the part as a whole."""

    what: str
    part: str
    field: str
    before: Any
    after: Any


def differences(before: Parts, after: Parts) -> list[Difference]:
    """What changed between two inventories: the machine itself first, then what went, what came, what is different."""
    own, new = before.get("system", {}), after.get("system", {})
    moved = next((name for name in IDENTITY if own.get(name) and new.get(name) and own[name] != new[name]), None)
    found = [Difference("machine", "system", moved, own[moved], new[moved])] if moved else []
    found += [Difference("removed", part, "", _few(before[part]), None) for part in before if part not in after]
    found += [Difference("added", part, "", None, _few(after[part])) for part in after if part not in before]
    for part, fields in after.items():
        known = before.get(part, fields)
        for name in sorted(known.keys() | fields.keys()):
            if known.get(name) != fields.get(name) and not (part == "system" and name == moved):
                found.append(Difference("changed", part, name, known.get(name), fields.get(name)))
    return found


def put(change: Change, device: str, said: Said) -> None:
    """Keep a device's inventory, and what is different from the one before."""
    session, row = change.session, change.session.get(Inventory, device)
    if row is None:
        row = Inventory(device=device, hash="", parts="{}", since=change.now)
        session.add(row)
    elif row.hash != said.hash:
        _note(change, device, differences(json.loads(row.parts), said.parts))
    if row.hash != said.hash:
        row.hash, row.parts, row.since = said.hash, json.dumps(said.parts, ensure_ascii=False), change.now
        system = said.parts.get("os", {})
        for name in OS:
            setattr(row, f"os_{name}", str(system.get(name, "")))
    row.seen = change.now


def of(session: Session, device: str) -> Inventory | None:
    """A device's inventory; None: it has sent none."""
    return session.get(Inventory, device)


def changes(session: Session, device: str, before: int, limit: int) -> list[InventoryChange]:
    """What changed of a device, newest first, before a number if it is not 0."""
    query = select(InventoryChange).where(InventoryChange.device == device)
    if before:
        query = query.where(InventoryChange.id < before)
    return list(session.scalars(query.order_by(InventoryChange.id.desc()).limit(limit)))


def hashes(session: Session) -> dict[str, str]:
    """Device -> hash of its inventory."""
    return {device: known for device, known in session.execute(select(Inventory.device, Inventory.hash))}  # noqa: C416


def systems(session: Session, schools: Collection[str] | None) -> Sequence[Any]:
    """(os id, version, release, name, active devices) of these schools (None: of all), the most frequent first."""
    columns = [getattr(Inventory, f"os_{name}") for name in OS]
    query = select(*columns, func.count()).join(Device, Device.id == Inventory.device).where(Device.status == "active")
    if schools is not None:
        query = query.where(Device.school.in_(schools))
    return session.execute(query.group_by(*columns).order_by(func.count().desc(), *columns)).all()


def _note(change: Change, device: str, found: list[Difference]) -> None:
    session = change.session
    for each in found[:MOST_AT_ONCE]:
        row = InventoryChange(device=device, t=change.now, what=each.what, part=each.part, field=each.field)
        row.before, row.after = json.dumps(each.before), json.dumps(each.after)
        session.add(row)
        session.flush()  # numbers in this order
    last = select(InventoryChange.id).where(InventoryChange.device == device).order_by(InventoryChange.id.desc())
    oldest = session.scalars(last.offset(MOST_CHANGES).limit(1)).first()
    if oldest is not None:
        session.execute(delete(InventoryChange).where(InventoryChange.device == device, InventoryChange.id <= oldest))


def _few(fields: dict[str, Any]) -> dict[str, Any]:
    return dict(list(fields.items())[:MOST_FIELDS])
