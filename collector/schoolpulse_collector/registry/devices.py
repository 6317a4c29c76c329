"""Devices: which there are, and what may be changed of one."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import credential
from schoolpulse_collector.registry.model import Device, RevokedCertificate

if TYPE_CHECKING:
    from schoolpulse_collector.registry import Change

CERTIFICATE_DAYS = 400
DAY = 86_400_000  # milliseconds


def page(session: Session, schools: Collection[str] | None, after: str, limit: int) -> list[Device]:
    """Devices of these schools (None: of all) in the order of their ids, those after ``after``, at most ``limit``."""
    query = select(Device).where(Device.id > after).order_by(Device.id).limit(limit)
    return list(session.scalars(_of(query, schools)))


def count(session: Session, schools: Collection[str] | None) -> int:
    """How many devices these schools have; None: all schools."""
    return session.scalar(_of(select(func.count()).select_from(Device), schools)) or 0


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
    """Add a device, or renew one with the same id; return its new secret. ``more``: other columns of `Device`."""
    known = change.session.get(Device, device_id)
    if known:
        retire_certificate(change, known)
    row = {"school": school, "room": room, "name": name, "kind": kind, "simulated": simulated, **more}
    secret = credential.new_secret()
    row |= {"status": "active", "secret_hash": credential.keep(secret), "changed": change.now, "certificate": ""}
    row |= {"rekey_until": 0, "rekey_uses": 0}
    if not known:
        row |= {"enrolled": change.now}
    change.session.merge(Device(id=device_id, **row))
    shown = {key: value for key, value in row.items() if key in ("room", "name", "kind")}
    change.note("device.renew" if known else "device.add", f"device:{device_id}", school, **shown)
    return secret


def alter(change: Change, device_id: str, **columns: Any) -> Device | None:
    """Give a device another name, room, school, kind or asset code; None if there is no such device."""
    row = change.session.get(Device, device_id)
    if row is None:
        return None
    before = {name: getattr(row, name) for name, value in columns.items() if getattr(row, name) != value}
    if before:
        for name, value in columns.items():
            setattr(row, name, value)
        row.changed = change.now
        after = {name: columns[name] for name in before}
        change.note("device.alter", f"device:{device_id}", row.school, before=before, after=after)
    return row


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
        expires = change.now + CERTIFICATE_DAYS * DAY
        gone = RevokedCertificate(serial=row.certificate, device=row.id, revoked=change.now, expires=expires)
        change.session.merge(gone)
        row.certificate = ""


def _of(query: Select[Any], schools: Collection[str] | None) -> Select[Any]:
    return query if schools is None else query.where(Device.school.in_(schools))
