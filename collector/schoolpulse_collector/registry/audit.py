"""The audit: every change of data or rights, append-only, each row's hash made over the one before it.

Who alters or removes a row breaks the chain there, and ``verify`` says where; who can rewrite the whole database can
make a new chain, so the newest hash belongs outside too: ``schoolpulse audit verify`` prints it. Never a secret here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry.errors import RegistryDown
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
    """The chain's end, held until this transaction ends; no other change begins before that. Raises RegistryDown."""
    head = session.get(AuditHead, 1, with_for_update=True)
    if head is None:
        raise RegistryDown("registry: the end of its audit is gone (table audit_head): restore a backup")
    return head


def append(head: AuditHead, session: Session, actor: str, now: int, notes: list[Note]) -> None:
    """Chain these notes in this transaction."""
    for note in notes:
        text = json.dumps(note.detail, ensure_ascii=False, sort_keys=True)
        row = Audit(seq=head.seq + 1, t=now, actor=actor, action=note.action, subject=note.subject, school=note.school)
        row.detail = text
        row.hash = _hash(head.hash, row)
        head.seq, head.hash = row.seq, row.hash
        session.add(row)


def has(session: Session, known: str) -> bool:
    """Whether a row has this hash."""
    return session.scalars(select(Audit.seq).where(Audit.hash == known)).first() is not None


def newest(session: Session, schools: Collection[str] | None, subject: str, before: int, limit: int) -> list[Audit]:
    """Rows of some schools (None: all), newest first; of one subject if it is named, before a number if it is not 0."""
    query = select(Audit).order_by(Audit.seq.desc()).limit(limit)
    if schools is not None:
        query = query.where(Audit.school.in_(schools))
    if subject:
        query = query.where(Audit.subject == subject)
    if before:
        query = query.where(Audit.seq < before)
    return list(session.scalars(query))


def rows(session: Session, after: int = 0) -> Iterator[Audit]:
    """All rows in order, those after a number."""
    while found := list(session.scalars(select(Audit).where(Audit.seq > after).order_by(Audit.seq).limit(PAGE))):
        yield from found
        after = found[-1].seq
        session.expunge_all()


def since(session: Session, seq: int) -> tuple[int, int | None]:
    """(newest row's number, earliest instant of the rows after ``seq``; None if there are none)."""
    newest, first = session.execute(select(func.max(Audit.seq), func.min(Audit.t)).where(Audit.seq > seq)).one()
    return newest or seq, first


def verify(session: Session) -> tuple[int, str, Broken | None]:
    """(rows that hold, newest good hash, where the chain breaks, None if it holds)."""
    last, count = START, 0
    stray = session.scalar(select(func.min(Audit.seq)).where(Audit.seq < 1))
    if stray is not None:
        return count, last, Broken(1, f"row {stray} was never chained")
    for row in rows(session):
        if row.seq != count + 1:
            return count, last, Broken(count + 1, f"row {count + 1} is missing")
        if row.hash != _hash(last, row):
            return count, last, Broken(row.seq, f"row {row.seq} is not as it was written")
        last, count = row.hash, row.seq
    heads = list(session.scalars(select(AuditHead)))
    if len(heads) != 1 or heads[0].seq < count:
        return count, last, Broken(count + 1, f"audit_head does not say that row {count} is the newest")
    head = heads[0]
    if (head.seq, head.hash) != (count, last):
        return count, last, Broken(count + 1, f"rows {count + 1} to {head.seq} are missing")
    return count, last, None


def _hash(last: str, row: Audit) -> str:
    fields = [last, row.seq, row.t, row.actor, row.action, row.subject, row.school, row.detail]
    # repr: SQLite lets anybody put bytes where text belongs
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False, default=repr).encode()).hexdigest()
