"""``/api/v1/audit``: who changed what, and whether the record of it is whole."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schoolpulse_api.access import needs
from schoolpulse_api.fields import CLEAN
from schoolpulse_api.view import View
from schoolpulse_collector.registry import audit
from schoolpulse_collector.registry.model import Audit


class AuditOut(BaseModel):
    """One change. ``t`` in UTC milliseconds; ``hash`` is made over this row and the hash before it."""

    seq: int
    t: int
    actor: str
    action: str
    subject: str
    school: str
    detail: dict[str, Any]
    hash: str


class AuditPage(BaseModel):
    """Some changes, newest first; ask again with ``before`` set to ``next`` until it is null."""

    items: list[AuditOut]
    next: int | None


class Verdict(BaseModel):
    """Whether the chain holds: so many rows do, up to this hash; else where it breaks."""

    rows: int
    hash: str
    broken_at: int | None = Field(description="null: it holds")
    why: str


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1/audit", tags=["audit"])

    @made.get("", summary="Changes in the schools whose IT one is in charge of; all of them for an administrator")
    def changes(
        view: Annotated[View, needs("area_it")],
        subject: Annotated[str, Query(max_length=200, pattern=CLEAN, description="only of this, as device:d1")] = "",
        before: Annotated[int, Query(ge=0, lt=2**62, description="the last seq of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AuditPage:
        found = view.audit(subject, before, limit + 1)
        items = [_shown(row) for row in found[:limit]]
        return AuditPage(items=items, next=items[-1].seq if len(found) > limit else None)

    @made.get("/verify", summary="Is the record whole? Reads all of it")
    def verify(view: Annotated[View, needs("administrator", centre=True)]) -> Verdict:
        with view.read("administrator") as session:
            rows, newest, broken = audit.verify(session)
        return Verdict(rows=rows, hash=newest, broken_at=broken and broken.seq, why=broken.why if broken else "")

    return made


def _shown(row: Audit) -> AuditOut:
    plain = {name: getattr(row, name) for name in AuditOut.model_fields if name != "detail"}
    return AuditOut(**plain, detail=json.loads(row.detail))
