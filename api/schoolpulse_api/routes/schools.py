"""``/api/v1/schools``: the schools, their rooms, and how their devices are."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, StringConstraints

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key
from schoolpulse_api.view import View
from schoolpulse_collector.presence import STATES
from schoolpulse_collector.registry import org
from schoolpulse_collector.registry.model import School

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class RoomOut(BaseModel):
    """A room."""

    key: str
    name: str


class SchoolOut(BaseModel):
    """A school; ``devices`` counts them by presence."""

    key: str
    name: str
    code: str
    level: str
    rooms: list[RoomOut]
    devices: dict[str, int]


class NameIn(BaseModel):
    """A name as people read it; the key stays."""

    name: Name


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1", tags=["schools"])

    @made.get("/schools", summary="The schools one may see, with devices counted by presence")
    def schools(view: Annotated[View, needs("viewer")]) -> list[SchoolOut]:
        return _shown(view, view.schools())

    @made.get("/schools/{school}", summary="One school")
    def school(view: Annotated[View, needs("viewer")], school: Key) -> SchoolOut:
        return _shown(view, [view.school(school)], school)[0]

    @made.patch("/schools/{school}", summary="Rename a school; no measurement is rewritten")
    def rename(view: Annotated[View, needs("area_it")], school: Key, asked: NameIn) -> SchoolOut:
        with view.change("area_it", school) as change:
            org.rename_school(change, school, asked.name)
        return _shown(view, [view.school(school)], school)[0]

    @made.put("/schools/{school}/rooms/{room}", summary="Add a room, or rename it")
    def room(view: Annotated[View, needs("technician")], school: Key, room: Key, asked: NameIn) -> RoomOut:
        with view.change("technician", school) as change:
            org.put_room(change, room, school, asked.name)
        return RoomOut(key=room, name=asked.name)

    return made


def _shown(view: View, schools: list[School], only: str | None = None) -> list[SchoolOut]:
    """Schools with all that is in them; ``only``: the one that is asked for."""
    states, rooms = view.states(only), defaultdict(list)
    for room in view.rooms(only):
        rooms[room.school].append(RoomOut(key=room.key, name=room.name))
    return [
        SchoolOut(
            key=school.key,
            name=school.name,
            code=school.code,
            level=school.level,
            rooms=rooms[school.key],
            devices={state: states[school.key][state] for state in STATES},
        )
        for school in schools
    ]
