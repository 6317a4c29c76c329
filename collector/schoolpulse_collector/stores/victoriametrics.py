"""VictoriaMetrics, single node, over HTTP; a series is named ``{measurement}_{field}``.

It is run with ``-dedup.minScrapeInterval=1ms`` (or a report written twice counts twice), ``-search.latencyOffset=0s``
and a ``-retentionPeriod`` of at least 35 days. Two reports of one device in the same millisecond are one sample.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from schoolpulse_agent import probe
from schoolpulse_agent.wire import group_key
from schoolpulse_collector import delivery
from schoolpulse_collector.lineprotocol import LineWriter
from schoolpulse_collector.linestore import LineStore
from schoolpulse_collector.metricsql import frame, to_metricsql
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import PLACE, Frame, Series
from schoolpulse_collector.store import Last, Refusal, StoreDown
from schoolpulse_collector.storeserver import Server, address

log = logging.getLogger(__name__)

EXAMPLE = "victoriametrics://host:8428"
CACHED = 5 * 60_000  # milliseconds: of what is older, VictoriaMetrics caches answers, and does not see that more came
RESET_EVERY = 60.0  # seconds between two resets of that cache
LOOK_EVERY = 5.0  # seconds an answer about the server's start is believed
FLAGS = "-dedup.minScrapeInterval=1ms -retentionPeriod=13"
KEEP_AT_LEAST = 60  # days: a report may be 35 days old when it comes, and wait here
CLOCK_OFF = 3600.0  # seconds
RECENT = "1d"  # how far back a start looks for last values


def open_url(url: str, folder: Path) -> VictoriaMetrics:
    """Open ``victoriametrics://host:8428`` or ``victoriametrics+https://host``. Raises StoreDown."""
    server = address(url, EXAMPLE)
    if urlsplit(url).query:
        raise ValueError(f"store {url!r}: write {EXAMPLE}")
    return VictoriaMetrics(server + urlsplit(url).path.rstrip("/"), folder)


class VictoriaMetrics(LineStore):
    """A store on a server that answers before it has written: see ``settling``."""

    settling = 60.0  # a kill lost what it had answered up to 9 s before (measured with 1.79.5)

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        super().__init__(LineWriter(url, "schoolpulse", "-", "-"), folder, _backslashes)
        self._server = Server(url)
        self._run, self._wrong_clocks, self._looked = "", 0, -LOOK_EVERY
        self._backfilled, self._reset_at = False, 0.0

    def run_id(self) -> str:
        """See ``store.Store``; also raises StoreDown for a server whose flags or clock would cost reports."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            metrics = self._server.get("/metrics").decode(errors="replace")
            started = re.search(r"^vm_app_start_timestamp (\S+)$", metrics, re.M)
            if not started:
                raise StoreDown(f"{self._url}/metrics does not say when the server was started")
            self._require_flags(dict(re.findall(r'^flag{name="([^"]+)", value="([^"]*)"', metrics, re.M)))
            self._require_clock()
            self._run, self._looked = f"{started[1]} {self._wrong_clocks}", time.monotonic()
        return self._run

    def _require_flags(self, flags: dict[str, str]) -> None:
        if flags.get("dedup.minScrapeInterval") != "1ms" or _days(flags.get("retentionPeriod", "1")) < KEEP_AT_LEAST:
            raise StoreDown(f"run the server at {self._url} with {FLAGS}; docs/stores.md says why")

    def _require_clock(self) -> None:
        """It ignores, without a word, what is more than two days ahead of its own clock."""
        answer = self._server.ask("/api/v1/query", {"query": "time()"})
        ahead = time.time() - float(answer["data"]["result"][0]["value"][1])
        if abs(ahead) > CLOCK_OFF:
            self._wrong_clocks += 1  # another run: what it got last may not be there
            raise StoreDown(
                f"the clock of {self._url} is {abs(ahead) / 3600:.0f} hours off this machine's: set it right"
            )

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """See ``store.Store``."""
        try:
            refusals = super().write(records)
        except StoreDown:
            self._looked = -LOOK_EVERY  # perhaps it was restarted
            raise
        self._show_backfill(records)
        return refusals

    def query(self, series: Series) -> Frame:
        """See ``store.Store``."""
        expression, parameters = to_metricsql(series)
        path = "/api/v1/query_range" if series.every else "/api/v1/query"
        return frame(series, self._server.ask(path, {"query": expression, **parameters}))

    def latest(self) -> Iterator[Last]:
        """The last values of one day, of the metrics that this version knows; others come with the next report."""
        found: dict[tuple[str, str], tuple[int, dict[str, float]]] = {}
        for measurement, field in (
            *probe.metrics(),
            *delivery.METRICS,
            *(("report", name) for name in ("seq", "lag_ms")),
        ):
            values, times = (
                self._server.ask("/api/v1/query", {"query": f"{over}({measurement}_{field}[{RECENT}])", "nocache": 1})
                for over in ("last_over_time", "tlast_over_time")
            )
            when = {_series(row): round(float(row["value"][1]) * 1000) for row in times["data"]["result"]}
            for row in values["data"]["result"]:
                if "device" not in row["metric"]:  # somebody else's
                    continue
                key = row["metric"]["device"], group_key(measurement, _own_tags(row["metric"]))
                t = when.get(_series(row), 0)
                before = found.get(key, (0, {}))
                if t >= before[0]:  # fields of one group are measured together: an older one is gone
                    kept = before[1] if t == before[0] else {}
                    found[key] = t, {**kept, field: float(row["value"][1])}
        for (device, group), (t, fields) in found.items():
            yield Last(device, group, t, fields)

    def _show_backfill(self, records: Sequence[Record]) -> None:
        """Let late data be seen: answers about those times may be cached."""
        self._backfilled |= any(record.t < time.time() * 1000 - CACHED for record in records)
        now = time.monotonic()
        if self._backfilled and now - self._reset_at >= RESET_EVERY:
            self._backfilled, self._reset_at = False, now
            try:
                self._server.get("/internal/resetRollupResultCache")
            except StoreDown as why:  # answers stay old for a while; nothing is lost
                log.warning("%s", why)
                self._backfilled = True


def _days(retention: str) -> float:
    """How many days a ``-retentionPeriod`` is; without a letter it is in months."""
    found = re.fullmatch(r"([0-9.]+)([hdwy]?)", retention)
    return float(found[1]) * {"h": 1 / 24, "d": 1, "w": 7, "y": 365, "": 31}[found[2]] if found else 0.0


def _backslashes(value: str) -> str:
    """A backslash escapes a backslash here."""
    return value.replace("\\", "\\\\")


def _series(row: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in row["metric"].items() if item[0] != "__name__"))


def _own_tags(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in ("__name__", "device", *PLACE)}
