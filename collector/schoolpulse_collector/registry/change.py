"""One change of the registry: a transaction that tells the audit what it does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from schoolpulse_collector.registry.audit import Note

SYSTEM = "system"  # the actor of what no person or program asked for


@dataclass
class Change:
    """One transaction. Whoever changes a row says so by ``note``; secrets never stand in a note."""

    session: Session
    by: str  # person:login, token:label, device:id or system
    now: int
    notes: list[Note] = field(default_factory=list)

    def note(self, action: str, subject: str, school: str = "", **detail: Any) -> None:
        """Put this into the audit when the transaction ends. ``school``: whose people may read it."""
        self.notes.append(Note(action, subject, school, detail))


def now() -> int:
    """UTC milliseconds."""
    return int(time.time() * 1000)
