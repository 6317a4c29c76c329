"""A newer agent, rolled out by school in waves: whom it is offered to, when the next wave follows, when it goes back.

Pure: who is asked what is ``rolling.py``'s and ``registry/rollouts.py``'s. A school's place in the waves follows from
its key alone, so the same schools are always first: choose others by naming pilots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schoolpulse_agent import package
from schoolpulse_agent.package import Manifest
from schoolpulse_collector.registry.agents import Running

WAVES = (1.0, 10.0, 100.0)  # percent of all schools
HOURS = 24.0  # a wave lasts at least: a school day, with its morning and its evening

# The policy. Of the devices that a wave has reached, those count that have been heard since it began and take updates.
GOOD = 0.8  # of them say the new version: then, when its hours have passed, the next wave follows
AWAKE = 0.1  # of them are not silent: at night, when all are off, nobody knows whether it runs
BAD = 0.2  # of them refuse it, or are silent beyond what is usual elsewhere: then it is withdrawn from all ...
LEAST = 2  # ... if they are at least so many
SILENT = 30 * 60 * 1000  # milliseconds without a word, said goodbye or not: an agent that updates says goodbye too
OTHERS = 10  # devices that the wave has not reached, at least, to know what silence is usual


class Rollout(NamedTuple):
    """One version on its way to the schools. Instants in UTC milliseconds."""

    id: int
    manifest: Manifest
    state: str  # running, paused, done or withdrawn
    waves: tuple[float, ...]  # percent of schools, rising
    pilots: frozenset[str]  # schools that come before all: if there are any, they are wave 0
    wave: int  # the current one
    since: int  # when it began
    hours: float
    why: str  # of the last stop

    @property
    def last(self) -> int:
        """The number of the last wave."""
        return len(self.waves) - (0 if self.pilots else 1)

    def wave_of(self, school: str) -> int:
        """In which wave a school is reached; beyond the last: in none."""
        if school in self.pilots:
            return 0
        percent = int.from_bytes(hashlib.sha256(school.encode()).digest()[:4], "big") / 2**32 * 100
        first = 1 if self.pilots else 0
        return next((first + at for at, share in enumerate(self.waves) if percent < share), self.last + 1)

    def reaches(self, school: str) -> bool:
        """Whether this version is offered to the school's devices now."""
        return self.state == "done" or (self.state == "running" and self.wave_of(school) <= self.wave)


class Device(NamedTuple):
    """What a rollout sees of a device. ``seen``: its last word, UTC milliseconds; 0: none is known."""

    school: str
    online: bool
    seen: int
    running: Running


class Count(NamedTuple):
    """How the devices of the waves so far stand, of those that have been heard since the current one began."""

    heard: int = 0
    updated: int = 0  # say the new version
    refused: int = 0  # have tried it, or can't
    silent: int = 0
    awake: int = 0  # say the new version and are not silent
    off: int = 0  # take no updates: counted nowhere else
    others: int = 0  # that are compared with: heard, and of another wave or none
    others_silent: int = 0

    @property
    def excess(self) -> float:
        """How many are silent beyond what is usual among the others; 0 where nobody can tell."""
        return max(0.0, self.silent - self.heard * self.others_silent / self.others) if self.others >= OTHERS else 0.0


class Step(NamedTuple):
    """What follows for a rollout: ``state`` and ``wave`` as they shall be, and why it is withdrawn."""

    state: str
    wave: int
    why: str = ""


def offer(rollouts: Sequence[Rollout], school: str, running: str) -> dict[str, Any] | None:
    """What a configuration says of the agent's version. ``rollouts``: the newest first; ``running``: what it said.

    Never an older version than it runs: to leave one, an agent is told that it is withdrawn and goes back by itself.
    """
    for rollout in rollouts:
        if rollout.state == "withdrawn":
            if rollout.manifest.version == running:
                return {"version": running, "withdrawn": True}
        elif rollout.reaches(school):
            return rollout.manifest._asdict() if not _is_newer(running, rollout.manifest.version) else None
    return None


def count(rollout: Rollout, devices: Iterable[Device], now: int) -> Count:
    """Count the devices (not simulated ones) that have been heard since the current wave began."""
    reached: list[Device] = []
    last: list[Device] = []
    rest: list[Device] = []
    for device in devices:
        if device.seen < rollout.since:
            continue
        wave = rollout.wave_of(device.school)
        (rest if wave > rollout.wave else last if wave == rollout.wave else reached).append(device)
    # Nearly all are reached: what is usual is seen in those of the waves before.
    judged, others = (reached + last, rest) if len(rest) >= OTHERS else (last, reached)
    version = rollout.manifest.version
    found = Count(others=len(others), others_silent=sum(_is_silent(device, now) for device in others))
    for device in judged:
        found = _added(found, device, version, now)
    return found


def judge(rollout: Rollout, found: Count, now: int, schools: Iterable[str]) -> Step:
    """What follows from a count. ``schools``: all with devices; a wave that reaches no more of them is left out."""
    bad = found.refused + found.excess
    if bad >= LEAST and bad > BAD * found.heard:
        why = f"{found.refused} of {found.heard} devices refuse it and {found.silent} are silent"
        return Step("withdrawn", rollout.wave, f"{why} ({found.others_silent} of {found.others} elsewhere)")
    here = Step(rollout.state, rollout.wave)
    if rollout.state != "running" or now - rollout.since < rollout.hours * 3_600_000:
        return here
    if not found.heard + found.off or found.updated < GOOD * found.heard or found.awake < AWAKE * found.heard:
        return here
    later = sorted({wave for wave in map(rollout.wave_of, schools) if rollout.wave < wave <= rollout.last})
    return Step("running", later[0]) if later else Step("done", rollout.last)


def first_wave(rollout: Rollout, schools: Iterable[str]) -> int:
    """The first wave that reaches one of these schools."""
    return min((wave for wave in map(rollout.wave_of, schools) if wave <= rollout.last), default=0)


def refuses(running: Running, version: str) -> bool:
    """Whether this agent has refused this version; one that takes no updates at all has not."""
    return running.refused.startswith(f"agent {version} ") and not takes_none(running)


def takes_none(running: Running) -> bool:
    """Whether updates are off on this machine."""
    return running.refused.startswith("agent ") and running.refused.endswith(" updates are off here")


def _added(found: Count, device: Device, version: str, now: int) -> Count:
    running = device.running
    if takes_none(running):
        return found._replace(off=found.off + 1)
    refused, silent = refuses(running, version), _is_silent(device, now)
    updated = running.agent == version and not refused
    return found._replace(
        heard=found.heard + 1,
        updated=found.updated + updated,
        refused=found.refused + refused,
        silent=found.silent + (silent and not refused),
        awake=found.awake + (updated and not silent),
    )


def _is_silent(device: Device, now: int) -> bool:
    return not device.online and now - device.seen >= SILENT


def _is_newer(running: str, version: str) -> bool:
    try:
        return package.number(running) > package.number(version)
    except package.BadPackage:  # it has not said yet what it runs
        return False
