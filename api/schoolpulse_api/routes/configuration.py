"""``/api/v1/.../configuration``: what the centre wants of agents: everywhere, in a unit, school, room, of a device."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, RootModel

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key, Kind
from schoolpulse_api.routes.devices import ConfigOut, config_shown
from schoolpulse_api.view import Missing, View
from schoolpulse_collector.registry import Change, configuration
from schoolpulse_collector.registry.configuration import Place
from schoolpulse_collector.registry.model import Configuration, Room

EXAMPLE: dict[str, Any] = {"reports": {"interval": 120}, "probe": {"processes": {"enabled": False}}}


class Settings(RootModel[dict[str, dict[str, Any]]]):
    """Sections and keys as in agent.toml; they take the place of what was wanted here."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})


OfKind = Annotated[Kind | None, Query(description="only of devices of this kind; left out: of all")]


class ConfigurationOut(BaseModel):
    """What is wanted in one place; ``kind`` empty: of all kinds of devices. ``changed`` in UTC milliseconds."""

    scope: str = Field(description="centre, unit, school, room or device; each over those before it")
    key: str
    kind: str
    settings: dict[str, Any]
    changed: int
    changed_by: str


class WantedOut(ConfigOut):
    """What is wanted of one device, all places above it taken together."""

    settings: dict[str, Any]


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1", tags=["configuration"])

    @made.get("/configuration", summary="What is wanted everywhere, and in the schools whose IT one is in charge of")
    def everything(view: Annotated[View, needs("area_it")]) -> list[ConfigurationOut]:
        return [_shown(row) for row in view.configurations()]

    @made.put("/configuration", summary="Want this everywhere, or in a unit and all below it")
    def put_everywhere(
        view: Annotated[View, needs("administrator", centre=True)],
        settings: Settings,
        unit: Key | None = None,
        kind: OfKind = None,
    ) -> ConfigurationOut:
        with view.change("administrator") as change:
            return _put(change, _place("unit" if unit else "centre", unit, kind), settings.root)

    @made.delete("/configuration", status_code=204, summary="Want nothing more everywhere, or in a unit")
    def clear_everywhere(
        view: Annotated[View, needs("administrator", centre=True)], unit: Key | None = None, kind: OfKind = None
    ) -> None:
        with view.change("administrator") as change:
            configuration.clear(change, _place("unit" if unit else "centre", unit, kind))

    @made.put("/schools/{school}/configuration", summary="Want this in a school, or in one of its rooms")
    def put_school(
        view: Annotated[View, needs("area_it")],
        school: Key,
        settings: Settings,
        room: Key | None = None,
        kind: OfKind = None,
    ) -> ConfigurationOut:
        with view.change("area_it", school) as change:
            return _put(change, _in_school(change, school, room, kind), settings.root)

    @made.delete("/schools/{school}/configuration", status_code=204, summary="Want nothing more there")
    def clear_school(
        view: Annotated[View, needs("area_it")], school: Key, room: Key | None = None, kind: OfKind = None
    ) -> None:
        with view.change("area_it", school) as change:
            configuration.clear(change, _in_school(change, school, room, kind))

    @made.get("/devices/{device_id}/configuration", summary="What is wanted of a device, and whether it follows")
    def wanted(view: Annotated[View, needs("viewer")], device_id: Key) -> WantedOut:
        device = view.device(device_id)
        return WantedOut(**config_shown(view, device).model_dump(), settings=view.wanted(device)[0].settings)

    @made.put("/devices/{device_id}/configuration", summary="Want this of one device")
    def put_device(view: Annotated[View, needs("area_it")], device_id: Key, settings: Settings) -> ConfigurationOut:
        with view.change_device("area_it", device_id) as (change, row):
            return _put(change, Place("device", row.id), settings.root)

    @made.delete("/devices/{device_id}/configuration", status_code=204, summary="Want nothing more of it alone")
    def clear_device(view: Annotated[View, needs("area_it")], device_id: Key) -> None:
        with view.change_device("area_it", device_id) as (change, row):
            configuration.clear(change, Place("device", row.id))

    return made


def _place(scope: str, key: str | None, kind: str | None) -> Place:
    return Place(scope, key or "", kind or "")


def _in_school(change: Change, school: str, room: str | None, kind: str | None) -> Place:
    found = change.session.get(Room, room) if room else None
    if room and (found is None or found.school != school):
        raise Missing(f"school {school!r} has no room {room!r}")
    return _place("room" if room else "school", room or school, kind)


def _put(change: Change, place: Place, settings: dict[str, Any]) -> ConfigurationOut:
    return _shown(configuration.put(change, place, settings))


def _shown(row: Configuration) -> ConfigurationOut:
    plain = {name: getattr(row, name) for name in ConfigurationOut.model_fields if name != "settings"}
    return ConfigurationOut(**plain, settings=json.loads(row.settings))
