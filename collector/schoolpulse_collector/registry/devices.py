"""Devices: which there are, and what may be changed of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import credential, orgvalues
from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.errors import Refused
from schoolpulse_collector.registry.model import Device, RevokedCertificate, Room, School

CERTIFICATE_DAYS = 400
READ = {"name": orgvalues.text(200, required=True), "asset_code": orgvalues.text(64), "kind": orgvalues.key}
DAY = 86_400_000  # milliseconds


def page(session: Session, schools: Collection[str] | None, after: str, limit: int) -> list[Device]:
    """Devices of these schools (None: of all) in the order of their ids, those after ``after``, at most ``limit``.

    The order is the database's own: of a PostgreSQL with Vietnamese collation not that of code points.
    """
    query = select(Device).where(Device.id > after).order_by(Device.id).limit(limit)
    return list(session.scalars(_of(query, schools)))


def count(session: Session, schools: Collection[str] | None) -> int:
    """How many devices these schools have; None: all schools."""
    return session.scalar(_of(select(func.count()).select_from(Device), schools)) or 0


def ids(session: Session, schools: Collection[str] | None) -> Sequence[Any]:
    """(id, school) of all devices of these schools; None: of all schools."""
    return session.execute(_of(select(Device.id, Device.school), schools)).all()


def changed(session: Session, since: int) -> Sequence[Any]:
    """(id, school, room, kind, status, secret hash, hardware, simulated) of devices that changed since this instant."""
    place, known = (Device.school, Device.room, Device.kind), (Device.status, Device.secret_hash, Device.hardware)
    return session.execute(select(Device.id, *place, *known, Device.simulated).where(Device.changed >= since)).all()


def put(
    change: Change,
    device_id: str,
    school: str,
    room: str | None,
    name: str,
    kind: str,
    *,
    simulated: bool = False,
    **more: Any,
) -> str:
    """Add a device, or renew one with the same id; return its new secret. ``more``: other columns of `Device`.

    Raises Refused if the room is another school's.
    """
    return give(change, device_id, school, room, name=name, kind=kind, simulated=simulated, **more)[1]


def give(
    change: Change, device_id: str, school: str, room: str | None, *, simulated: bool = False, **more: Any
) -> tuple[Device, str]:
    """As `put`, and return the device too."""
    _check_room(change, school, room)
    known = change.session.get(Device, device_id)
    if known:
        retire_certificate(change, known)
    row = {"school": school, "room": room, "simulated": simulated, **more}
    secret = credential.new_secret()
    row |= {"status": "active", "secret_hash": credential.keep(secret), "changed": change.now, "certificate": ""}
    row |= {"rekey_until": 0, "rekey_uses": 0}
    if not known:
        row |= {"enrolled": change.now}
    device = known or Device(id=device_id)
    for column, value in row.items():
        setattr(device, column, value)
    change.session.add(device)
    change.session.flush()  # what comes next may refer to it
    shown = {key: value for key, value in row.items() if key in ("room", "name", "kind")}
    change.note("device.renew" if known else "device.add", f"device:{device_id}", school, **shown)
    return device, secret


def alter(change: Change, row: Device, **columns: Any) -> None:
    """Give a device another name, room, school, kind or asset code.

    In another school it has no room until it is given one. Raises Refused for a name that can't be kept, a school that
    there is not, or a room that is not its own.
    """
    columns |= {field: READ[field](value) for field, value in columns.items() if field in READ}
    if columns.get("school", row.school) != row.school:
        if change.session.get(School, columns["school"]) is None:
            raise Refused(f"there is no school {columns['school']!r}")
        columns = {"room": None, **columns}
    room = columns.get("room")
    if room is not None and change.session.get(Room, room) is None:
        raise Refused(f"there is no room {room!r}")
    _check_room(change, columns.get("school", row.school), room)
    before = {name: getattr(row, name) for name, value in columns.items() if getattr(row, name) != value}
    if before:
        for name, value in columns.items():
            setattr(row, name, value)
        row.changed = change.now
        after = {name: columns[name] for name in before}
        for school in {row.school, before.get("school", row.school)}:  # who lost it may know where it went
            change.note("device.alter", f"device:{row.id}", school, before=before, after=after)


def set_status(change: Change, device_id: str, status: str) -> Device | None:
    """Make a device active, revoked or retired; one that is not active is not heard any more."""
    row = change.session.get(Device, device_id)
    if row is None or row.status == status:
        return row
    if status != "active":
        retire_certificate(change, row)
        row.rekey_until = 0
    change.note(f"device.{status}", f"device:{device_id}", row.school, before=row.status)
    row.status, row.changed = status, change.now
    return row


def retire_certificate(change: Change, row: Device) -> None:
    """Put the certificate that a device has on the list of those that are good no more."""
    if row.certificate:
        gone = RevokedCertificate(serial=row.certificate, device=row.id, revoked=change.now)
        gone.expires = change.now + CERTIFICATE_DAYS * DAY  # at the latest
        change.session.merge(gone)
        row.certificate = ""


def _check_room(change: Change, school: str, key: str | None) -> None:
    room = change.session.get(Room, key) if key is not None else None
    if key is not None and (room is None or room.school != school):
        raise Refused(f"room {key} is not in school {school}: name a room of that school")


def _of(query: Any, schools: Collection[str] | None) -> Any:
    return query if schools is None else query.where(Device.school.in_(schools))
