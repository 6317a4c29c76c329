"""Looks each minute how the newest agents fare where they have arrived: lets the next wave follow, or withdraws."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from schoolpulse_collector import waves
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import SYSTEM, Registry, RegistryDown, rollouts
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.waves import Count, Device, Rollout

log = logging.getLogger(__name__)

LOOK = 60.0  # seconds
SETTLE = 600.0  # seconds after the start without a judgement: who is there comes back by and by


class Rolling(threading.Thread):
    """One thread from what agents say to the registry. Thread-safe."""

    def __init__(
        self,
        registry: Registry,
        roster: Roster,
        fleet: Fleet,
        presence: Presence,
        latest: Latest,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="rolling", daemon=True)
        self.works = True  # whether the last look came to its end
        self._registry, self._roster, self._fleet = registry, roster, fleet
        self._presence, self._latest, self._clock = presence, latest, clock
        self._began = clock()
        self._stopping = threading.Event()

    def count(self, rollout: Rollout) -> Count:
        """How the devices of a rollout's waves stand now."""
        return waves.count(rollout, self._devices(), int(self._clock() * 1000))

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.wait(LOOK):
            try:
                self.look()
                self.works = True
            except RegistryDown as why:
                if self.works:
                    log.error("%s; rollouts stay as they are", why)
                self.works = False
            except Exception:  # a mistake of ours: who rolls out must not have to restart the centre
                log.exception("rollouts can't be judged; they stay as they are")
                self.works = False

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()

    def look(self) -> None:
        """Judge what is on its way, once. Raises RegistryDown."""
        if self._clock() - self._began < SETTLE:
            return
        with self._registry.read() as session:
            found = [each for each in rollouts.everything(session) if each.state in ("running", "paused")]
        for rollout in found:
            step = waves.judge(rollout, self.count(rollout), int(self._clock() * 1000), self._schools())
            if (step.state, step.wave) == (rollout.state, rollout.wave):
                continue
            with self._registry.change(SYSTEM) as change:
                done = rollouts.move(change, rollout, step)
            if done and step.state == "withdrawn":
                log.error("version %s of the agent is withdrawn: %s", rollout.manifest.version, step.why)
            elif done:
                log.info("version %s of the agent: %s, wave %d", rollout.manifest.version, step.state, step.wave + 1)

    def _schools(self) -> set[str]:
        return {sender.school for sender in self._roster.all() if sender.active and not sender.simulated}

    def _devices(self) -> Iterator[Device]:
        for sender in self._roster.all():
            if sender.active and not sender.simulated:
                known = self._presence.of(sender.id)
                # Not heard since the centre started: its last report tells when it was there.
                seen = known.seen or max((t for t, _ in self._latest.of(sender.id).values()), default=0)
                yield Device(sender.school, known.state == "online", seen, self._fleet.running(sender.id))
