"""Reads every probe that is due, once, and puts their readings together: one report's groups.

The one place that runs probes: it times them, keeps one from stopping another, and reports each as ``probe``.
"""

from __future__ import annotations

import logging
import time
from math import isfinite
from typing import Any, Callable

from schoolpulse_agent.probe import Reading
from schoolpulse_agent.wire import Groups, group_key

log = logging.getLogger(__name__)


class Cycle:
    """The probes of one machine, by name, and when each was read last."""

    def __init__(self, probes: dict[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self.probes = probes
        self._clock = clock
        self._due = dict.fromkeys(probes, 0.0)
        self._failing: set[str] = set()

    def prime(self) -> None:
        """Give probes that measure a step their base line, without a report."""
        due = dict(self._due)
        self.read()
        self._due = due

    def read(self) -> Groups:
        """Read what is due. Never raises; a probe that fails keeps what it yielded and says ``up`` 0."""
        groups: Groups = {}
        now = self._clock()
        for name, probe in self.probes.items():
            if now < self._due[name]:
                continue
            late = now - self._due[name]  # a few milliseconds each time; they must not add up
            self._due[name] = now + probe.every - (late if late < probe.every else 0.0)
            start, up = time.perf_counter(), 1.0
            try:
                for reading in probe.read():
                    _put(groups, reading)
            except Exception as why:
                up = 0.0
                if name not in self._failing:  # once, not at every report
                    log.warning("probe %s failed: %s: %s", name, type(why).__name__, why)
            (self._failing.discard if up else self._failing.add)(name)
            _put(groups, Reading("probe", {"probe": name}, {"up": up, "seconds": time.perf_counter() - start}))
        return groups


def _put(groups: Groups, reading: Reading) -> None:
    """Add a reading, leaving out what the wire would refuse: values that are no numbers, tags that can't be shown."""
    fields = {name: round(float(value), 6) for name, value in reading.fields.items() if isfinite(value)}
    tags = {name: _printable(value) for name, value in reading.tags.items()}
    if fields:
        groups.setdefault(group_key(reading.measurement, {n: v for n, v in tags.items() if v}), {}).update(fields)


def _printable(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value[:128])
