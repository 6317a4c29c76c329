"""Rollouts of newer agents: begun, paused and ended by an administrator, moved on or withdrawn by the centre itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_agent import package
from schoolpulse_agent.package import Manifest
from schoolpulse_collector import waves
from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.errors import Refused
from schoolpulse_collector.registry.model import Device, School
from schoolpulse_collector.registry.model import Rollout as Row
from schoolpulse_collector.waves import Rollout, Step

MOST_WAVES = 10


def start(
    change: Change,
    manifest: Manifest,
    percents: Sequence[float] = waves.WAVES,
    pilots: Collection[str] = (),
    hours: float = waves.HOURS,
) -> Rollout:
    """Offer a version to the first wave. Raises Refused. Whether it is signed is each machine's to judge."""
    session = change.session
    _check_waves(percents, hours)
    for key in pilots:
        if session.get(School, key) is None:
            raise Refused(f"there is no school {key!r}")
    for earlier in everything(session):
        said = earlier.manifest.version
        if earlier.state in ("running", "paused"):
            raise Refused(f"{said} is on its way: wait until it is done, or withdraw it")
        if package.number(manifest.version) <= package.number(said):
            raise Refused(f"{said} was rolled out before: agents take newer ones only, so give it a higher number")
    row = Row(
        **manifest._asdict(),
        state="running",
        waves=json.dumps(list(percents)),
        pilots=json.dumps(sorted(pilots)),
        wave=0,
        since=change.now,
        hours=hours,
        started=change.now,
        started_by=change.by,
    )
    session.add(row)
    session.flush()
    there = select(Device.school).where(Device.status == "active", ~Device.simulated).distinct()
    row.wave = waves.first_wave(_of(row), session.scalars(there))
    session.flush()
    change.note("rollout.start", f"rollout:{row.id}", version=row.version, waves=list(percents), pilots=sorted(pilots))
    return _of(row)


def pause(change: Change, rollout: int, why: str = "") -> Rollout:
    """Offer it to nobody more; who has it keeps it. Raises Refused."""
    return _set(change, rollout, "paused", ("running",), why)


def resume(change: Change, rollout: int) -> Rollout:
    """Go on with the wave where it was, its hours from now. Raises Refused."""
    return _set(change, rollout, "running", ("paused",), "")


def withdraw(change: Change, rollout: int, why: str = "") -> Rollout:
    """Let every machine that runs it go back to what it came from. Raises Refused."""
    return _set(change, rollout, "withdrawn", ("running", "paused", "done"), why)


def move(change: Change, seen: Rollout, step: Step) -> bool:
    """Do what was judged, unless somebody has changed the rollout since it was seen so; whether it was done."""
    row = change.session.get(Row, seen.id)
    if row is None or _of(row) != seen:
        return False
    row.state, row.wave, row.since, row.why = step.state, step.wave, change.now, step.why
    change.note(f"rollout.{step.state}", f"rollout:{row.id}", version=row.version, wave=step.wave, why=step.why)
    return True


def everything(session: Session) -> list[Rollout]:
    """All rollouts, the newest first."""
    return [_of(row) for row in session.scalars(select(Row).order_by(Row.id.desc()))]


def find(session: Session, rollout: int) -> Rollout:
    """One rollout. Raises Refused."""
    row = session.get(Row, rollout)
    if row is None:
        raise Refused(f"there is no rollout {rollout}")
    return _of(row)


def _set(change: Change, rollout: int, state: str, before: Collection[str], why: str) -> Rollout:
    now = find(change.session, rollout)
    if now.state not in before:
        raise Refused(f"the rollout of {now.manifest.version} is {now.state}")
    row = change.session.get_one(Row, rollout)
    row.state, row.since, row.why = state, change.now, why
    change.note(f"rollout.{state}", f"rollout:{rollout}", version=row.version, wave=row.wave, why=why)
    change.session.flush()
    return _of(row)


def _check_waves(percents: Sequence[float], hours: float) -> None:
    rising = list(percents) == sorted(set(percents)) and all(0 < percent <= 100 for percent in percents)
    if not rising or not 0 < len(percents) <= MOST_WAVES or percents[-1] != 100:
        raise Refused(f"waves are at most {MOST_WAVES} rising percentages that end with 100, as 1, 10, 100")
    if not 0 < hours <= 24 * 365:
        raise Refused("a wave lasts more than 0 hours, at most a year")


def _of(row: Row) -> Rollout:
    return Rollout(
        id=row.id,
        manifest=Manifest(row.version, row.sha256, row.size, row.python, row.signature),
        state=row.state,
        waves=tuple(json.loads(row.waves)),
        pilots=frozenset(json.loads(row.pilots)),
        wave=row.wave,
        since=row.since,
        hours=row.hours,
        why=row.why,
    )
