"""``/api/v1/fleet``: which agents and operating systems there are, and which configurations are refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schoolpulse_api.access import needs
from schoolpulse_api.routes.inventory import SupportOut, support_shown
from schoolpulse_api.view import View
from schoolpulse_collector.registry import agents, equipment


class VersionOut(BaseModel):
    """So many active devices run this version of the agent."""

    version: str
    devices: int


class SystemOut(BaseModel):
    """So many active devices run this operating system."""

    id: str
    version: str
    release: str
    name: str
    devices: int
    support: SupportOut | None = Field(description="null: unknown")


class RefusalOut(BaseModel):
    """So many active devices do not follow this configuration."""

    version: str
    why: str
    devices: int


class FleetOut(BaseModel):
    """The fleet, each list by number of devices."""

    agents: list[VersionOut]
    systems: list[SystemOut]
    refused: list[RefusalOut] = Field(description="at most 100 different ones")


def router() -> APIRouter:
    """The route."""
    made = APIRouter(prefix="/api/v1", tags=["fleet"])

    @made.get("/fleet", summary="Agents, operating systems and refused configurations, counted in one's schools")
    def fleet(view: Annotated[View, needs("viewer")]) -> FleetOut:
        with view.count_fleet() as (session, schools):
            versions = agents.versions(session, schools)
            systems, refusals = equipment.systems(session, schools), agents.refusals(session, schools)
        return FleetOut(
            agents=[VersionOut(version=version, devices=count) for version, count in versions],
            systems=[_system(*said, devices=count) for *said, count in systems],
            refused=[_refusal(said, count) for said, count in refusals],
        )

    return made


def _system(*said: str, devices: int) -> SystemOut:
    system = dict(zip(equipment.OS, said, strict=True))
    return SystemOut(**system, devices=devices, support=support_shown(system))


def _refusal(said: str, devices: int) -> RefusalOut:
    version, _, why = said.partition(" ")
    return RefusalOut(version=version, why=why, devices=devices)
