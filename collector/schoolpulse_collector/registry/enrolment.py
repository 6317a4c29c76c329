"""How machines get their identity: by a token of their school, and anew when an image of one was copied to others.

A token's text is ``spe_``, 24 random bytes, a dot and the fingerprint of the centre's CA: so the machine knows whom to
trust before it shows the token. It is kept as its hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from schoolpulse_agent.identity import fingerprint
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import credential, devices, orgvalues
from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.errors import Refused
from schoolpulse_collector.registry.model import Device, EnrolmentToken, Room, School

KINDS = ("server", "lab_pc", "classroom_pc", "office_pc", "laptop", "gateway")
DAY = devices.DAY
MAX_USES, MAX_DAYS = 1000, 90
REKEY_DAYS, REKEY_USES = 7, 100
_NAMES = {"lab_pc": "PC", "server": "SV", "classroom_pc": "LH", "office_pc": "VP", "laptop": "LT", "gateway": "GW"}


class NotAdmitted(Exception):
    """This token or secret opens nothing: unknown, spent, expired, revoked. Which of them is nobody's business."""


@dataclass(frozen=True)
class Hardware:
    """What a machine says it is; every part may be empty."""

    uuid: str = ""
    macs: tuple[str, ...] = ()
    serial: str = ""
    manufacturer: str = ""
    product: str = ""

    @property
    def fingerprint(self) -> str:
        """What its hellos show."""
        return fingerprint(list(self.macs), self.uuid)


@dataclass(frozen=True)
class Enrolled:
    """What a machine is told, once."""

    device: Device
    secret: str
    certificate: str | None = None


def issue(
    change: Change,
    ca: str,
    school: str,
    *,
    room: str | None = None,
    uses: int = 40,
    days: float = 7,
    kind: str = "lab_pc",
    label: str = "",
) -> tuple[EnrolmentToken, str]:
    """Make a token for machines of a school; return it and its text, shown only this once. Raises Refused.

    ``ca``: fingerprint of the centre's CA.
    """
    if not 1 <= uses <= MAX_USES:
        raise Refused(f"a token is for 1 to {MAX_USES} machines")
    if not 0 < days <= MAX_DAYS:
        raise Refused(f"a token is good for some time, at most {MAX_DAYS} days")
    if kind not in KINDS:
        raise Refused(f"kind {kind!r}: use one of {', '.join(KINDS)}")
    if change.session.get(School, school) is None:
        raise Refused(f"there is no school {school!r}")
    if room is not None and not _room_of(change.session, room, school):
        raise Refused(f"school {school!r} has no room {room!r}")
    label = orgvalues.text(200)(label)
    text = f"spe_{secrets.token_urlsafe(24)}.{ca}"
    row = EnrolmentToken(hash=credential.digest(text), school=school, room=room, uses=uses, kind=kind, label=label)
    row.expires, row.created, row.created_by = change.now + int(days * DAY), change.now, change.by
    change.session.add(row)
    change.session.flush()
    change.note("token.issue", f"enrolment_token:{row.id}", school, room=room, uses=uses, kind=kind, days=days)
    return row, text


def withdraw(change: Change, token_id: int) -> EnrolmentToken | None:
    """No machine may use this token any more; those that did stay. None: there is no such token."""
    row = change.session.get(EnrolmentToken, token_id)
    if row and not row.revoked:
        row.revoked = True
        change.note("token.withdraw", f"enrolment_token:{row.id}", row.school, used=row.used)
    return row


def tokens(session: Session, school: str, now: int) -> list[EnrolmentToken]:
    """The tokens of a school that are still good, newest first."""
    query = select(EnrolmentToken).where(EnrolmentToken.school == school, EnrolmentToken.expires > now)
    query = query.where(EnrolmentToken.revoked.is_(False), EnrolmentToken.used < EnrolmentToken.uses)
    return list(session.scalars(query.order_by(EnrolmentToken.id.desc())))


def enrol(
    change: Change,
    text: str,
    hardware: Hardware,
    *,
    name: str = "",
    previous: str = "",
    proof: str = "",
    online: Callable[[str], bool] = lambda _: False,
) -> Enrolled:
    """Use a token once and give this machine its identity, or its old one if it is known. Raises NotAdmitted, Refused.

    What a machine says of its hardware proves nothing, so a token takes over active devices of its own kind only, and
    the audit tells each time. ``previous``, ``proof``: the id and secret that the machine has, if it has any.
    ``online``: whether a device is connected at this moment: then one that looks like it is another machine, unless it
    proves that it is the same.
    """
    token = change.session.scalars(select(EnrolmentToken).where(EnrolmentToken.hash == credential.digest(text))).first()
    if token is None or token.revoked or token.expires <= change.now or token.used >= token.uses:
        raise NotAdmitted
    name = devices.READ["name"](name) if name else ""
    token.used += 1

    def proven(row: Device) -> bool:
        return previous == row.id and credential.matches(proof, row.secret_hash)

    same, twin = find(change.session, token.school, hardware, previous)
    if same and (same.status != "active" or same.kind != token.kind or (not proven(same) and online(same.id))):
        same, twin = None, same
    change.note("token.use", f"enrolment_token:{token.id}", token.school, taken_over=same.id if same else "")
    if same:
        kept = {"name": name or same.name, "kind": same.kind}
        return _give(
            change, same.id, same.school, token.room or same.room, hardware, cloned_from=same.cloned_from, **kept
        )
    name = name or free_name(change.session, token.school, token.room, token.kind)
    origin = twin.id if twin else ""
    return _give(change, new_id(), token.school, token.room, hardware, name=name, kind=token.kind, cloned_from=origin)


def open_rekey(change: Change, device_id: str) -> Device | None:
    """End this device's secret, and let every machine that has it ask once for its own. None: no such device."""
    row = change.session.get(Device, device_id)
    if row is None:
        return None
    if row.status != "active":
        raise Refused(f"device {device_id} is {row.status}: nobody has its identity")
    if row.secret_hash and not row.rekey_until > change.now:  # else it is the one that the machines have already
        row.rekey_hash, row.secret_hash = row.secret_hash, ""
    row.rekey_until, row.rekey_uses = change.now + REKEY_DAYS * DAY, REKEY_USES
    row.changed = change.now
    devices.retire_certificate(change, row)
    change.note("device.rekey", f"device:{device_id}", row.school, days=REKEY_DAYS, uses=REKEY_USES)
    return row


def rekey(change: Change, device_id: str, secret: str, hardware: Hardware) -> Enrolled:
    """Give a machine with a copied secret an identity of its own; the one it was made for keeps it. Raises NotAdmitted.

    The same machine may ask again, should the answer have been lost: it gets the same identity.
    """
    row = change.session.get(Device, device_id)
    if row is None or row.status != "active" or row.rekey_until <= change.now or row.rekey_uses < 1:
        raise NotAdmitted
    if not credential.matches(secret, row.rekey_hash):
        raise NotAdmitted
    row.rekey_uses -= 1
    mark = hardware.fingerprint
    until, uses, kept = row.rekey_until, row.rekey_uses, row.rekey_hash
    # Where no fingerprint tells, the first who asks is taken for the one it was made for.
    if mark == row.hardware if mark and row.hardware else not row.secret_hash:
        found = _give(change, row.id, row.school, row.room, hardware, name=row.name, kind=row.kind)
        found.device.rekey_until, found.device.rekey_uses, found.device.rekey_hash = until, uses, kept
        return found
    query = select(Device).where(Device.cloned_from == row.id, Device.hardware == mark, Device.status == "active")
    known = change.session.scalars(query).first() if mark else None
    if known:
        place = (known.id, known.school, known.room)
        return _give(change, *place, hardware, name=known.name, kind=known.kind, cloned_from=row.id)
    name = free_name(change.session, row.school, row.room, row.kind)
    return _give(change, new_id(), row.school, row.room, hardware, name=name, kind=row.kind, cloned_from=row.id)


def holder(session: Session, device_id: str, secret: str) -> Device:
    """The active device that has this secret. Raises NotAdmitted."""
    row = session.get(Device, device_id)
    if row is None or row.status != "active" or not credential.matches(secret, row.secret_hash):
        raise NotAdmitted
    return row


def certify(change: Change, row: Device, authority: Authority, csr: str) -> str:
    """A certificate for this device instead of the one it had. Raises certificate.BadRequest."""
    certificate, serial = authority.device_certificate(csr, row.id)
    devices.retire_certificate(change, row)
    row.certificate = serial
    change.note("device.certificate", f"device:{row.id}", row.school, serial=serial)
    return certificate


def find(session: Session, school: str, hardware: Hardware, previous: str = "") -> tuple[Device | None, Device | None]:
    """(the device of this school that is this machine, or another that only claims the same hardware identity).

    The same machine: the same SMBIOS UUID and no network card that speaks against it; without a UUID, the same cards.
    Cheap boards share one UUID, so a UUID alone, with other cards, is another machine. Of several, the one with the id
    that the machine names, or the newest.
    """
    if not hardware.uuid and not hardware.macs:
        return None, None
    macs = ",".join(hardware.macs)
    known = or_(
        (Device.smbios_uuid == hardware.uuid) & (Device.smbios_uuid != ""), (Device.macs == macs) & (Device.macs != "")
    )
    query = select(Device).where(Device.school == school, known, Device.status != "retired")
    twin = None
    newest_first = sorted(session.scalars(query), key=lambda row: (row.id == previous, row.enrolled), reverse=True)
    for row in newest_first:
        cards = set(filter(None, row.macs.split(",")))
        agree = not cards or not hardware.macs or not cards.isdisjoint(hardware.macs)
        contradict = bool(row.smbios_uuid and hardware.uuid and row.smbios_uuid != hardware.uuid)
        if agree and not contradict:
            return row, None
        twin = twin or row
    return None, twin


def free_name(session: Session, school: str, room: str | None, kind: str) -> str:
    """``PC-07``: the next number that nobody has in this room."""
    taken = set(session.scalars(select(Device.name).where(Device.school == school, Device.room == room)))
    number = 1
    while (name := f"{_NAMES.get(kind, 'TB')}-{number:02d}") in taken:
        number += 1
    return name


def new_id() -> str:
    """64 random bits: no two devices ever share one, and it says nothing."""
    return f"d{secrets.token_hex(8)}"


def _give(
    change: Change,
    device_id: str,
    school: str,
    room: str | None,
    hardware: Hardware,
    *,
    name: str,
    kind: str,
    cloned_from: str = "",
) -> Enrolled:
    shown: dict[str, Any] = {"smbios_uuid": hardware.uuid, "macs": ",".join(hardware.macs)}
    shown |= {"hardware": hardware.fingerprint, "cloned_from": cloned_from, "rekey_hash": ""}
    return Enrolled(*devices.give(change, device_id, school, room, name=name, kind=kind, **shown))


def _room_of(session: Session, room: str, school: str) -> bool:
    found = session.get(Room, room)
    return found is not None and found.school == school
