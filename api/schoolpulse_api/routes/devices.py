"""``/api/v1/devices``: the devices, page by page, and each with its last values."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from schoolpulse_api.access import needs
from schoolpulse_api.fields import KEY, Key, Kind
from schoolpulse_api.view import View
from schoolpulse_collector.registry import devices
from schoolpulse_collector.registry.model import Device


class PresenceOut(BaseModel):
    """Whether a device is there; times in UTC milliseconds, 0 for never."""

    state: str = Field(description="online, off (said goodbye), offline (cut off or silent) or unknown")
    since: int
    seen: int


class ConfigOut(BaseModel):
    """How a device stands to what the centre wants of its agent."""

    state: str = Field(description="none (is wanted), followed, waiting (to be) or refused")
    wanted: str = Field(description="version of the configuration that is wanted; empty: none")
    follows: str = Field(description="version of the one that its agent follows; empty: its own file alone")
    refused: str = Field(description="version of the newest that it does not follow, and why; empty: none")


class DeviceOut(BaseModel):
    """A device. ``simulated``: its values are made up, not measured."""

    id: str
    name: str
    kind: str
    school: str
    room: str | None
    status: str
    simulated: bool
    asset_code: str
    enrolled: int = Field(description="UTC milliseconds")
    cloned_from: str = Field(description="the device whose image or hardware identity this machine carried")
    agent: str = Field(description="version of its agent; empty: it has not said")
    config: ConfigOut
    presence: PresenceOut


class GroupOut(BaseModel):
    """The last values of one group; ``t`` in UTC milliseconds."""

    t: int
    fields: dict[str, float]


class DeviceWithValues(DeviceOut):
    """A device and the last value of each of its fields, by group (``disk,path=/``)."""

    latest: dict[str, GroupOut]


class DeviceChange(BaseModel):
    """What may be changed of a device in its school."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = ""
    room: Key | None = None
    kind: Kind = ""
    asset_code: Annotated[str, StringConstraints(max_length=64)] = ""


class Move(BaseModel):
    """Where a device goes."""

    school: Key
    room: Key | None = None


class DevicePage(BaseModel):
    """Some devices; ask again with ``after`` set to ``next`` until it is null."""

    total: int
    items: list[DeviceOut]
    next: str | None


def shown(view: View, device: Device) -> DeviceOut:
    """A device as this view has it."""
    state = view.presence(device)
    presence = PresenceOut(state=state.state, since=state.since, seen=state.seen)
    plain = {name: getattr(device, name) for name in DeviceOut.model_fields if hasattr(device, name)}
    return DeviceOut(**plain, presence=presence, agent=view.running(device).agent, config=config_shown(view, device))


def config_shown(view: View, device: Device) -> ConfigOut:
    """How a device stands to what is wanted of it."""
    (wanted, state), running = view.wanted(device), view.running(device)
    return ConfigOut(state=state, wanted=wanted.version, follows=running.config, refused=running.refused)


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1", tags=["devices"])

    @made.get("/devices", summary="Devices in the order of their ids, one page at a time")
    def page(
        view: Annotated[View, needs("viewer")],
        school: Annotated[Key | None, Query(description="only this school's")] = None,
        after: Annotated[str, Query(pattern=f"^{KEY}{{0,64}}$", description="the last id of the page before")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> DevicePage:
        found = view.devices(school, after, limit + 1)
        following = found[limit - 1].id if len(found) > limit else None
        total = view.count_devices(school)
        return DevicePage(total=total, items=[shown(view, device) for device in found[:limit]], next=following)

    @made.get("/devices/{device_id}", summary="One device with its last values")
    def device(view: Annotated[View, needs("viewer")], device_id: Key) -> DeviceWithValues:
        found = view.device(device_id)
        latest = {group: GroupOut(t=t, fields=fields) for group, (t, fields) in view.latest(found).items()}
        return DeviceWithValues(**shown(view, found).model_dump(), latest=latest)

    @made.patch("/devices/{device_id}", summary="Another name, room, kind or asset code; what is left out stays")
    def alter(view: Annotated[View, needs("technician")], device_id: Key, asked: DeviceChange) -> DeviceOut:
        with view.change_device("technician", device_id) as (change, row):
            devices.alter(change, row, **asked.model_dump(exclude_unset=True))
            return shown(view, row)

    @made.post(
        "/devices/{device_id}/move", summary="To another school, as its history does not: that stays where it was"
    )
    def move(view: Annotated[View, needs("area_it")], device_id: Key, asked: Move) -> DeviceOut:
        view.require("area_it", view.school(asked.school).key)
        with view.change_device("area_it", device_id) as (change, row):
            devices.alter(change, row, school=asked.school, room=asked.room)
            return shown(view, row)

    @made.post("/devices/{device_id}/revoke", summary="Stolen or lost: it is cut off at once and not heard any more")
    def revoke(view: Annotated[View, needs("technician")], device_id: Key) -> DeviceOut:
        return _status(view, "technician", device_id, "revoked")

    @made.post("/devices/{device_id}/retire", summary="Out of use: not heard any more, its history stays")
    def retire(view: Annotated[View, needs("technician")], device_id: Key) -> DeviceOut:
        return _status(view, "technician", device_id, "retired")

    @made.post("/devices/{device_id}/restore", summary="Found again: its secret opens again, a certificate does not")
    def restore(view: Annotated[View, needs("area_it")], device_id: Key) -> DeviceOut:
        return _status(view, "area_it", device_id, "active")

    return made


def _status(view: View, role: str, device_id: str, status: str) -> DeviceOut:
    with view.change_device(role, device_id) as (change, row):
        devices.set_status(change, row.id, status)
        return shown(view, row)
