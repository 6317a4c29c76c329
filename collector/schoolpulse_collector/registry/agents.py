"""What each device's agent runs, as its newest hello said."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.model import Agent, Device

MOST_REFUSALS = 100  # different ones that are told


class Running(NamedTuple):
    """What an agent says of itself; each as in `wire.Presence`."""

    agent: str = ""
    config: str = ""
    refused: str = ""


def put(change: Change, device: str, running: Running) -> None:
    """Keep what a device's agent said."""
    row = change.session.get(Agent, device) or Agent(device=device)
    row.version, row.config, row.refused, row.changed = *running, change.now
    change.session.add(row)


def everything(session: Session) -> Sequence[Any]:
    """(device, version, config, refused) of all that ever said something."""
    return session.execute(select(Agent.device, Agent.version, Agent.config, Agent.refused)).all()


def versions_of(session: Session, devices: Collection[str]) -> dict[str, str]:
    """Device -> version of its agent, of those that have said it."""
    query = select(Agent.device, Agent.version).where(Agent.device.in_(devices))
    return {device: version for device, version in session.execute(query)}  # noqa: C416


def versions(session: Session, schools: Collection[str] | None) -> Sequence[Any]:
    """(version, active devices) of these schools (None: of all), the most frequent first."""
    query = _active(select(Agent.version, func.count()), schools)
    return session.execute(query.group_by(Agent.version).order_by(func.count().desc(), Agent.version)).all()


def refusals(session: Session, schools: Collection[str] | None) -> Sequence[Any]:
    """(what is refused and why, as in `wire.Presence`; active devices), the most frequent first."""
    query = _active(select(Agent.refused, func.count()), schools).where(Agent.refused != "")
    query = query.group_by(Agent.refused).order_by(func.count().desc(), Agent.refused).limit(MOST_REFUSALS)
    return session.execute(query).all()


def _active(query: Any, schools: Collection[str] | None) -> Any:
    query = query.join(Device, Device.id == Agent.device).where(Device.status == "active")
    return query if schools is None else query.where(Device.school.in_(schools))
