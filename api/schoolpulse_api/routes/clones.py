"""``/api/v1/clones``: device ids that more than one machine uses, and what to do about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key
from schoolpulse_api.routes.devices import DeviceOut, shown
from schoolpulse_api.view import View
from schoolpulse_collector import clones
from schoolpulse_collector.registry import enrolment


class SightingOut(BaseModel):
    """Another machine that used this id. Instants in UTC milliseconds."""

    hardware: str = Field(description="fingerprint of its network cards; empty: the same as the device's own")
    first: int
    last: int
    count: int


class CloneOut(BaseModel):
    """A device id, and the machines that use it beside its own."""

    device: DeviceOut
    sightings: list[SightingOut]


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1", tags=["clones"])

    @made.get("/clones", summary="Device ids that more than one machine uses")
    def listed(view: Annotated[View, needs("viewer")]) -> list[CloneOut]:
        answer = []
        for device, rows in view.clones():
            seen = [SightingOut(**{name: getattr(row, name) for name in SightingOut.model_fields}) for row in rows]
            answer.append(CloneOut(device=shown(view, device), sightings=seen))
        return answer

    @made.post(
        "/devices/{device_id}/rekey",
        summary="End this secret; each machine that has it gets an identity of its own, by itself, within minutes",
    )
    def rekey(view: Annotated[View, needs("technician")], device_id: Key) -> DeviceOut:
        with view.change_device("technician", device_id) as (change, row):
            enrolment.open_rekey(change, row.id)
            clones.settle(change, row.id)
            return shown(view, row)

    @made.post(
        "/devices/{device_id}/same-machine",
        summary="It is one machine with a new mainboard or network card: take what was seen last as its own",
    )
    def same_machine(view: Annotated[View, needs("technician")], device_id: Key) -> DeviceOut:
        with view.change_device("technician", device_id) as (change, row):
            clones.accept(change, row)
            return shown(view, row)

    return made
