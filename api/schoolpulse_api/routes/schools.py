"""``/api/v1/schools``: the schools and how their devices are."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter
from pydantic import BaseModel

from schoolpulse_api.centre import Centre
from schoolpulse_collector.presence import STATES


class RoomOut(BaseModel):
    """A room."""

    key: str
    name: str


class SchoolOut(BaseModel):
    """A school; ``devices`` counts them by presence."""

    key: str
    name: str
    rooms: list[RoomOut]
    devices: dict[str, int]


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(prefix="/api/v1", tags=["schools"])

    @made.get("/schools", summary="All schools, with devices counted by presence")
    def schools() -> list[SchoolOut]:
        answer = []
        for school in centre.registry.schools():
            devices = centre.registry.devices(school.key, limit=100_000)
            count = Counter(centre.presence.of(device.id).state for device in devices)
            rooms = [RoomOut(key=room.key, name=room.name) for room in centre.registry.rooms(school.key)]
            states = {state: count[state] for state in STATES}
            answer.append(SchoolOut(key=school.key, name=school.name, rooms=rooms, devices=states))
        return answer

    return made
