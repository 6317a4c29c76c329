"""``/api/v1/rollouts``: newer versions of the agent, wave by wave to the schools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from schoolpulse_agent.package import Manifest
from schoolpulse_api import packages
from schoolpulse_api.access import needs
from schoolpulse_api.fields import CLEAN, Key
from schoolpulse_api.view import View
from schoolpulse_collector.registry import Change, rollouts
from schoolpulse_collector.waves import HOURS, WAVES, Rollout

Number = Annotated[int, Path(ge=1, lt=2**31)]


class Package(BaseModel):
    """What ``schoolpulse package sign`` has written beside a package. The package itself lies in <home>/packages."""

    version: str = Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+){1,3}$", examples=["0.2.0"])
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0, le=4 * 2**20, description="bytes")
    python: str = Field(pattern=r"^3\.[0-9]{1,2}$", description="the oldest that it runs on")
    signature: str = Field(max_length=100, pattern=r"^[A-Za-z0-9+/]+={0,2}$", description="Ed25519, base64")


class RolloutIn(BaseModel):
    """A version to be rolled out."""

    package: Package
    waves: list[float] = Field(default=list(WAVES), description="percent of schools, rising to 100")
    pilots: list[Key] = Field(default=[], max_length=1000, description="schools that come first")
    hours: float = Field(default=HOURS, description="that each wave lasts at least")


class Why(BaseModel):
    """Why it stops."""

    why: str = Field(default="", max_length=200, pattern=CLEAN)


NO_REASON = Why()


class CountOut(BaseModel):
    """Devices of the waves so far that have been heard since the current one began, and take updates."""

    heard: int
    updated: int = Field(description="say the new version")
    refused: int = Field(description="have tried it and gone back, or can't run it")
    silent: int = Field(description="for half an hour")
    off: int = Field(description="take no updates; counted nowhere else")
    others: int = Field(description="that the waves have not reached: what is usual")
    others_silent: int


class RolloutOut(BaseModel):
    """One rollout. ``wave`` counts from 0, pilots first if there are any; ``since`` in UTC milliseconds."""

    id: int
    version: str
    state: str = Field(description="running, paused, done or withdrawn")
    waves: list[float]
    pilots: list[str]
    wave: int
    since: int
    hours: float
    why: str
    devices: CountOut


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1/rollouts", tags=["rollouts"])

    @made.get("", summary="All rollouts, the newest first, and how the machines fare")
    def everything(view: Annotated[View, needs("administrator", centre=True)]) -> list[RolloutOut]:
        with view.read("administrator") as session:
            found = rollouts.everything(session)
        return [_shown(view, each) for each in found]

    @made.post("", status_code=201, summary="Offer a version to the first wave")
    def start(view: Annotated[View, needs("administrator", centre=True)], said: RolloutIn) -> RolloutOut:
        manifest = Manifest(**said.package.model_dump())
        packages.require(view.settings.home, manifest)
        with view.change("administrator") as change:
            return _shown(view, rollouts.start(change, manifest, said.waves, said.pilots, said.hours))

    @made.post("/{rollout}/pause", summary="Offer it to nobody more; who has it keeps it")
    def pause(
        view: Annotated[View, needs("administrator", centre=True)], rollout: Number, said: Why = NO_REASON
    ) -> RolloutOut:
        return _changed(view, lambda change: rollouts.pause(change, rollout, said.why))

    @made.post("/{rollout}/resume", summary="Go on where it was paused")
    def resume(view: Annotated[View, needs("administrator", centre=True)], rollout: Number) -> RolloutOut:
        return _changed(view, lambda change: rollouts.resume(change, rollout))

    @made.post("/{rollout}/withdraw", summary="Let every machine that runs it go back to what it came from")
    def withdraw(
        view: Annotated[View, needs("administrator", centre=True)], rollout: Number, said: Why = NO_REASON
    ) -> RolloutOut:
        return _changed(view, lambda change: rollouts.withdraw(change, rollout, said.why))

    return made


def _changed(view: View, act: Callable[[Change], Rollout]) -> RolloutOut:
    with view.change("administrator") as change:
        return _shown(view, act(change))


def _shown(view: View, rollout: Rollout) -> RolloutOut:
    return RolloutOut(
        id=rollout.id,
        version=rollout.manifest.version,
        state=rollout.state,
        waves=list(rollout.waves),
        pilots=sorted(rollout.pilots),
        wave=rollout.wave,
        since=rollout.since,
        hours=rollout.hours,
        why=rollout.why,
        devices=CountOut(**view.count_rollout(rollout)._asdict()),
    )
