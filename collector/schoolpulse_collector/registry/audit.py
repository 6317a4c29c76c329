"""The audit: every change of data or rights, append-only, each row's hash made over the one before it.

Who alters or removes a row breaks the chain there, and ``verify`` says where; who can rewrite the whole database can
make a new chain, so the newest hash belongs outside too: ``schoolpulse audit verify`` prints it. Never a secret here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry.model import Audit, AuditHead

START = "0" * 64  # what the first row's hash is made over
PAGE = 1000


class Note(NamedTuple):
    """One change, before it is chained. ``subject``: kind:key. ``school``: whose people may read it."""

    action: str
    subject: str
    school: str
    detail: dict[str, Any]


class Broken(NamedTuple):
    """Where a chain does not hold."""

    seq: int
    why: str


def lock(session: Session) -> AuditHead:
    """The chain's end, held until this transaction ends; no other change begins before that."""
    return session.scalars(select(AuditHead).with_for_update()).one()


def append(head: AuditHead, session: Session, actor: str, now: int, notes: list[Note]) -> None:
    """Chain these notes in this transaction."""
    for note in notes:
        text = json.dumps(note.detail, ensure_ascii=False, sort_keys=True)
        row = Audit(seq=head.seq + 1, t=now, actor=actor, action=note.action, subject=note.subject, school=note.school)
        row.detail = text
        row.hash = _hash(head.hash, row)
        head.seq, head.hash = row.seq, row.hash
        session.add(row)


def rows(session: Session, after: int = 0) -> Iterator[Audit]:
    """All rows in order, those after a number."""
    while found := list(session.scalars(select(Audit).where(Audit.seq > after).order_by(Audit.seq).limit(PAGE))):
        yield from found
        after = found[-1].seq
        session.expunge_all()


def verify(session: Session) -> tuple[int, str, Broken | None]:
    """(rows that hold, newest good hash, where the chain breaks, None if it holds)."""
    last, count = START, 0
    for row in rows(session):
        if row.seq != count + 1:
            return count, last, Broken(count + 1, f"row {count + 1} is missing")
        if row.hash != _hash(last, row):
            return count, last, Broken(row.seq, f"row {row.seq} is not as it was written")
        last, count = row.hash, row.seq
    head = session.scalars(select(AuditHead)).one()
    if (head.seq, head.hash) != (count, last):
        return count, last, Broken(count + 1, f"rows {count + 1} to {head.seq} are missing")
    return count, last, None


def _hash(last: str, row: Audit) -> str:
    fields = [last, row.seq, row.t, row.actor, row.action, row.subject, row.school, row.detail]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
