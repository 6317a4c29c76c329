"""What each agent shall run, and telling it so: when that changes, and at a hello that says otherwise.

A configuration is published retained, so that a device which is away finds the newest one when it comes; where a
broker hands out nothing retained (the embedded one, NATS as set up here) or something old, the device's hello shows it
and it is sent again. Where nothing is wanted any more, a configuration without version or settings takes the place of
the retained one: clearing that would leave a device that was away with what it had.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from schoolpulse_agent import remote, wire
from schoolpulse_agent.remote import Config
from schoolpulse_collector import waves
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.registry import Refused, Registry, RegistryDown, audit, configuration, org, rollouts
from schoolpulse_collector.registry.agents import Running
from schoolpulse_collector.roster import Roster, Sender
from schoolpulse_collector.waves import Rollout

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks whether anything has changed
PACE = 200  # configurations a second at most: a change for a whole city takes a quarter of an hour, and no burst
HOUR = 3600.0  # a school's units change with the day, which no row tells of
RETRY = 5.0
NOTHING = Config("", {})


class Wishes(NamedTuple):
    """All that is wanted, as the registry had it."""

    rows: dict[tuple[str, str, str], dict[str, Any]]  # (scope, key, kind) -> settings
    units: dict[str, list[str]]  # school -> the units above it of which something is wanted, from broad to narrow
    heirs: dict[str, str]  # school that was merged into another -> that one
    rollouts: tuple[Rollout, ...]  # of newer agents, the newest first


class Publisher(Protocol):
    """The part of a `Subscriber` that is needed here."""

    connected: bool

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1, retained."""


class Steering(threading.Thread):
    """One thread from the registry to the agents. Thread-safe."""

    def __init__(
        self, registry: Registry, roster: Roster, fleet: Fleet, publisher: Publisher, counters: Counters, zone: str
    ) -> None:
        """``zone``: whose day it is, for what a school belongs to. Raises RegistryDown."""
        super().__init__(name="steering", daemon=True)
        self.works = True  # whether the last look came to its end
        self._registry, self._roster, self._fleet, self._publisher = registry, roster, fleet, publisher
        self._counters, self._zone = counters, ZoneInfo(zone)
        self._stopping, self._wake, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._owed: dict[str, None] = {}  # devices to be told what is wanted of them, in this order
        self._told: dict[str, str] = {}  # device -> version that was published for it last, since this start
        self._made: dict[tuple[tuple[tuple[str, str, str], ...], tuple[str, bool]], Config] = {}
        self._audited, self._read_at = 0, 0.0
        self._wishes = self._read()

    def wanted(self, device: str) -> Config:
        """What this device shall run: the one place that says so. Nothing, if it is not known or not active."""
        sender = self._roster.get(device)
        if sender is None:
            return NOTHING
        offer = waves.offer(self._wishes.rollouts, sender.school, self._fleet.running(device).agent)
        return self._made_of(self._chain(sender), offer)

    def state(self, device: str) -> str:
        """How a device stands to what is wanted of it: none (is wanted), followed, waiting (to be) or refused."""
        wanted, running = self.wanted(device).version, self._fleet.running(device)
        if _refuses(running, wanted):
            return "refused"
        if running.config != wanted:
            return "waiting"
        return "followed" if wanted else "none"

    def said(self, device: str, said: wire.Presence) -> None:
        """Take in a presence message of a device that the roster knows; call it after the fleet's."""
        if said.state == "online" and said.agent:
            wanted, running = self.wanted(device).version, self._fleet.running(device)
            if self.state(device) == "waiting" or _is_stale(running, wanted):
                self._owe([device])

    def moved(self, senders: Sequence[Sender]) -> None:
        """These devices are new, or in another place now."""
        self._owe([sender.id for sender in senders if sender.active and self._differs(sender.id)])

    def run(self) -> None:
        """Steer until stopped. At the start all are looked at: something may have changed while nobody steered."""
        self.moved(self._roster.all())
        while not self._stopping.is_set():
            self._wake.wait(LOOK)
            self._wake.clear()
            try:
                if self._changed():
                    self.moved(self._roster.all())
                self.works = True
            except RegistryDown as why:
                if self.works:
                    log.error("%s; agents keep the configuration that they have", why)
                self.works = False
                self._stopping.wait(RETRY)
            except Exception:  # a mistake of ours: the next look may do
                log.exception("what is wanted of the agents can't be read")
                self.works = False
                self._stopping.wait(RETRY)
            self._tell()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self._wake.set()
        self.join()

    def _chain(self, sender: Sender) -> tuple[tuple[str, str, str], ...]:
        """The places above a device of which something is wanted, from broad to narrow."""
        rows, units, heirs, _ = self._wishes
        if not rows:
            return ()
        heir = heirs.get(sender.school)
        places = [("centre", ""), *(("unit", unit) for unit in units.get(sender.school, ()))]
        places += [("school", heir)] if heir else []
        places += [("school", sender.school), ("room", sender.room), ("device", sender.id)]
        kinds = ("", sender.kind)
        return tuple((*place, kind) for place in places for kind in kinds if (*place, kind) in rows)

    def _made_of(self, chain: tuple[tuple[str, str, str], ...], offer: dict[str, Any] | None) -> Config:
        version = (offer["version"], "withdrawn" in offer) if offer else ("", False)
        found = self._made.get((chain, version))
        if found is None:
            made, rows = self._made, self._wishes.rows  # in this order: what was wanted before stays in the old ones
            settings: dict[str, Any] = configuration.folded(rows[place] for place in chain if place in rows)
            found = made[chain, version] = config_of(settings, offer)
        return found

    def _differs(self, device: str) -> bool:
        """Whether a device has neither what is wanted nor been told of it."""
        wanted, running = self.wanted(device).version, self._fleet.running(device)
        told = self._told.get(device)
        has = running.config == wanted and not _is_stale(running, wanted) if told is None else told == wanted
        return not has and not _refuses(running, wanted)

    def _owe(self, devices: Sequence[str]) -> None:
        with self._lock:
            self._owed.update(dict.fromkeys(devices))
        if devices:
            self._wake.set()

    def _changed(self) -> bool:
        """Read anew what is wanted, if it may be something else now; whether it is."""
        with self._registry.read() as session:
            newest, _ = audit.since(session, self._audited)
        if newest == self._audited and time.monotonic() - self._read_at < HOUR:
            return False
        before, self._wishes = self._wishes, self._read()
        if before == self._wishes:
            return False
        self._made = {}
        return True

    def _read(self) -> Wishes:
        self._read_at = time.monotonic()
        day = datetime.now(UTC).astimezone(self._zone).date().isoformat()
        with self._registry.read() as session:
            self._audited, _ = audit.since(session, self._audited)
            kept = configuration.everything(session)
            rows = {(row.scope, row.key, row.kind): json.loads(row.settings) for row in kept if _is_good(row)}
            below = {key: org.schools_below(session, [key], day) for scope, key, _ in rows if scope == "unit"}
            heirs = org.merged(session)
            rolled = tuple(rollouts.everything(session))
        units: dict[str, list[str]] = {}
        for unit in sorted(below, key=lambda key: (-len(below[key]), key)):  # the one with more schools is the broader
            for school in below[unit]:
                units.setdefault(school, []).append(unit)
        return Wishes(rows, units, heirs, rolled)

    def _tell(self) -> None:
        """Publish to those who are owed, for about as long as until the next look."""
        for _ in range(int(PACE * LOOK)):
            with self._lock:
                device = next(iter(self._owed), None)
                if device is None or not self._publisher.connected:
                    return
                del self._owed[device]
            wanted = self.wanted(device)
            self._publisher.retain(wire.down_topic(device, "config"), remote.encode(wanted))
            self._told[device] = wanted.version
            self._counters.configurations.inc()
            if self._stopping.wait(1 / PACE):
                return


def config_of(settings: dict[str, Any], update: dict[str, Any] | None = None) -> Config:
    """A configuration with its version, which follows from what it says: the same has the same, nothing has none."""
    if not settings and update is None:
        return NOTHING
    plain = json.dumps([settings, update], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Config(hashlib.sha256(plain.encode()).hexdigest()[:16], settings, update)


def _refuses(running: Running, version: str) -> bool:
    return running.refused.startswith(f"{version} ")


def _is_stale(running: Running, version: str) -> bool:
    """Whether it still refuses a configuration that is no longer wanted, which hides all else that it refuses."""
    return bool(running.refused) and not running.refused.startswith("agent ") and not _refuses(running, version)


def _is_good(row: Any) -> bool:
    """Whether these settings still are what an agent may follow: they may be of an earlier version of this program."""
    try:
        configuration.judge(json.loads(row.settings))
    except (Refused, ValueError, TypeError) as why:
        log.error("the configuration of %s %s is left out: %s", row.scope, row.key, why)
        return False
    return True
