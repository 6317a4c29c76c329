"""``/api/v1/devices``: the devices, page by page, and each with its last values."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from schoolpulse_api.centre import Centre
from schoolpulse_collector.registry.model import Device


class PresenceOut(BaseModel):
    """Whether a device is there; times in UTC milliseconds, 0 for never."""

    state: str = Field(description="online, off (said goodbye), offline (cut off or silent) or unknown")
    since: int
    seen: int


class DeviceOut(BaseModel):
    """A device. ``simulated``: its values are made up, not measured."""

    id: str
    name: str
    kind: str
    school: str
    room: str
    status: str
    simulated: bool
    presence: PresenceOut


class GroupOut(BaseModel):
    """The last values of one group; ``t`` in UTC milliseconds."""

    t: int
    fields: dict[str, float]


class DeviceWithValues(DeviceOut):
    """A device and the last value of each of its fields, by group (``disk,path=/``)."""

    latest: dict[str, GroupOut]


class DevicePage(BaseModel):
    """Some devices; ask again with ``after`` set to ``next`` until it is null."""

    total: int
    items: list[DeviceOut]
    next: str | None


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(prefix="/api/v1", tags=["devices"])

    def shown(device: Device) -> DeviceOut:
        state = centre.presence.of(device.id)
        presence = PresenceOut(state=state.state, since=state.since, seen=state.seen)
        plain = {name: getattr(device, name) for name in DeviceOut.model_fields if name != "presence"}
        return DeviceOut(**plain, presence=presence)

    @made.get("/devices", summary="Devices in the order of their ids, one page at a time")
    def devices(
        school: Annotated[str | None, Query(description="only this school's")] = None,
        after: Annotated[str, Query(description="the last id of the page before")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> DevicePage:
        found = centre.registry.devices(school, after, limit + 1)
        following = found[limit - 1].id if len(found) > limit else None
        total = centre.registry.count_devices(school)
        return DevicePage(total=total, items=[shown(device) for device in found[:limit]], next=following)

    @made.get(
        "/devices/{device_id}", summary="One device with its last values", responses={404: {"description": "unknown"}}
    )
    def device(device_id: str) -> DeviceWithValues:
        found = centre.registry.device(device_id)
        if found is None:
            raise HTTPException(404, f"there is no device {device_id!r}")
        latest = {group: GroupOut(t=t, fields=fields) for group, (t, fields) in centre.latest.of(device_id).items()}
        return DeviceWithValues(**shown(found).model_dump(), latest=latest)

    return made
