"""``/api/v1/devices/.../inventory``: what a device is made of, until when its system is supported, what changed."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key
from schoolpulse_api.view import View
from schoolpulse_collector import support
from schoolpulse_collector.registry.model import InventoryChange

Value = str | int | float


class SupportOut(BaseModel):
    """Until when an operating system gets security updates without paying more."""

    ends: date = Field(description="the last day")
    ended: bool
    source: str


class InventoryOut(BaseModel):
    """What a device said last that it is made of. Instants in UTC milliseconds; no hash: it has said nothing yet."""

    hash: str
    since: int = Field(description="it has been so")
    seen: int = Field(description="it was last said to be so")
    parts: dict[str, dict[str, Value]] = Field(description="by part, as memory,slot=DIMM1; sizes in bytes")
    support: SupportOut | None = Field(description="of its operating system; null: unknown")


class ChangeOut(BaseModel):
    """One difference. ``t`` in UTC milliseconds."""

    id: int
    t: int
    what: str = Field(description="added, removed, changed, or machine: from here on this is another machine")
    part: str
    field: str = Field(description="empty: the part as a whole")
    before: Value | dict[str, Value] | None
    after: Value | dict[str, Value] | None


class ChangePage(BaseModel):
    """Some changes, newest first; ask again with ``before`` set to ``next`` until it is null."""

    items: list[ChangeOut]
    next: int | None


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1/devices/{device_id}/inventory", tags=["inventory"])

    @made.get("", summary="What a device is made of, and until when its operating system is supported")
    def inventory(view: Annotated[View, needs("viewer")], device_id: Key) -> InventoryOut:
        found = view.inventory(view.device(device_id))
        if found is None:
            return InventoryOut(hash="", since=0, seen=0, parts={}, support=None)
        parts = json.loads(found.parts)
        plain = {name: getattr(found, name) for name in ("hash", "since", "seen")}
        return InventoryOut(**plain, parts=parts, support=support_shown(parts.get("os", {})))

    @made.get("/changes", summary="What of it changed: memory that is gone, a disk that was swapped")
    def changes(
        view: Annotated[View, needs("viewer")],
        device_id: Key,
        before: Annotated[int, Query(ge=0, lt=2**62, description="the last id of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> ChangePage:
        found = view.inventory_changes(view.device(device_id), before, limit + 1)
        items = [_shown(row) for row in found[:limit]]
        return ChangePage(items=items, next=items[-1].id if len(found) > limit else None)

    return made


def support_shown(system: dict[str, Any]) -> SupportOut | None:
    """The end of support of an inventory's part ``os``; None: unknown."""
    found = support.of(system)
    return SupportOut(**found._asdict()) if found else None


def _shown(row: InventoryChange) -> ChangeOut:
    plain = {name: getattr(row, name) for name in ("id", "t", "what", "part", "field")}
    return ChangeOut(**plain, before=json.loads(row.before), after=json.loads(row.after))
