"""The embedded store: one DuckDB file, a table a measurement, written and asked inside this process only.

DuckDB lets one process open a file. Rows and the ranges of received reports go in one transaction, so a report that
comes again after a crash is known and left out. The database holds the hot days; those before are files (``days.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb

from schoolpulse_agent.wire import group_key
from schoolpulse_collector.days import DAY, SCHEMA, Days
from schoolpulse_collector.received import Low, Received
from schoolpulse_collector.received import Row as ReceivedRow
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import LOOK_BACK, PLACE, Frame, Row, Series
from schoolpulse_collector.sql import Arguments, to_sql
from schoolpulse_collector.store import KEEP, Last, Refusal, StoreDown
from schoolpulse_collector.tables import KEYS, Tables

KEEP_DAYS = 400  # of samples: a school year, and the same week of the year before
CLOSE_AFTER = 14 * 3_600_000  # milliseconds after a UTC day's end: 21:00 in Việt Nam, when schools are dark
LATEST_DAYS = 7  # how far back a start looks for last values
Query = tuple[str, Arguments]
FOREVER = 2**62
UNUSABLE = (duckdb.FatalException, duckdb.ConnectionException)  # an open database that must be opened anew


def open_url(url: str, _folder: Path) -> DuckDB:
    """Open ``duckdb:///path/to/file`` or ``duckdb:///path/to/file?days=90``. Raises StoreDown, ValueError."""
    parts, asked = urlsplit(url), parse_qs(urlsplit(url).query)
    days = asked.pop("days", [str(KEEP_DAYS)])[0]
    if not parts.path.startswith("/") or parts.netloc or parts.fragment or asked or not days.isdigit() or not int(days):
        raise ValueError(
            f"store {url!r}: write duckdb:///path/to/file, or duckdb:///path/to/file?days=90 to keep 90 days"
        )
    return DuckDB(Path(parts.path), int(days))


class DuckDB:
    """A store in one file, and a folder of closed days beside it."""

    settling = 0.0

    def __init__(self, path: Path, keep_days: int = KEEP_DAYS, threads: int = 2) -> None:
        self._path, self._keep_days, self._threads = path, keep_days, threads
        self._days = Days(path.with_suffix(".days"))
        self._closed_to = 0  # the day before which all days were closed since this start
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            self._days.sweep(self._db, linger=0)
        except (duckdb.Error, OSError) as why:
            raise StoreDown(f"{path}: {why}") from why
        self._received = Received(self.received(), self.lows())

    def _open(self) -> None:
        self._db = duckdb.connect(str(self._path), config={"threads": self._threads})
        self._db.execute(
            'create table if not exists received(device varchar, epoch bigint, "first" bigint, "last" bigint)'
        )
        self._db.execute("create table if not exists low(device varchar, epoch bigint, low bigint, heard bigint)")
        self._db.execute(SCHEMA)
        self._tables = Tables(self._db)
        self._asking = set[duckdb.DuckDBPyConnection]()

    def _reopen(self) -> None:
        """Raises StoreDown."""
        try:
            for cursor in list(self._asking):  # each of them would keep the unusable database alive
                cursor.close()
            self._db.close()
            self._open()
        except duckdb.Error as why:
            raise StoreDown(f"{self._path}: {why}") from why

    def run_id(self) -> str:
        """See ``store.Store``."""
        return ""

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """See ``store.Store``."""
        fresh = self._unknown(records)
        keys = {(record.device, record.epoch) for record in fresh}
        known = self._received.part(keys)  # a copy: what is not committed must not count as stored
        for record in fresh:
            known.add(record.device, record.epoch, record.seq)
            known.held_from(record.device, record.epoch, record.low, record.arrived)
        try:
            # It alters tables, which can't be in the transaction that fills them.
            rows, refusals = self._tables.rows(fresh)
            self._db.begin()
            for measurement, table in rows.items():
                self._tables.insert(measurement, table)
            if keys:
                self._note_received(keys, known)
            self._db.commit()
        except BaseException as why:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            if isinstance(why, UNUSABLE):
                self._reopen()  # a disk that was full at a checkpoint leaves the open database unusable, the file whole
            if isinstance(why, duckdb.Error):
                raise StoreDown(str(why)) from why
            raise
        self._received.take(known)
        return refusals

    def query(self, series: Series) -> Frame:
        """See ``store.Store``."""
        columns = self._tables.columns_of(series.measurement)
        if columns.get(series.field) != "DOUBLE":
            return Frame(series.group_by, [])
        tags = [name for name, kind in columns.items() if kind == "VARCHAR"]
        identity = [tag for tag in tags if tag not in PLACE]
        start, stop = (series.first - LOOK_BACK) * 1000, series.stop * 1000
        rows = self._ask(series.measurement, start, stop, lambda source: to_sql(series, tags, identity, source))
        return Frame(
            series.group_by, [Row(int(row[0]), tuple(tag or "" for tag in row[1:-1]), float(row[-1])) for row in rows]
        )

    def latest(self) -> Iterator[Last]:
        """See ``store.Store``; of the last days, and all that came late."""
        for measurement in list(self._tables.columns):
            columns = self._tables.columns_of(measurement)
            tags = [name for name, kind in columns.items() if kind == "VARCHAR" and name not in KEYS]
            fields = [name for name, kind in columns.items() if kind == "DOUBLE"]
            for row in self._newest(measurement, tags, fields):
                values = dict(zip(("device", "t", *tags, *fields), row, strict=True))
                group = group_key(measurement, {tag: values[tag] for tag in tags if values[tag] is not None})
                yield Last(row[0], group, row[1], {name: values[name] for name in fields if values[name] is not None})

    def _newest(self, measurement: str, tags: Sequence[str], fields: Sequence[str]) -> list[tuple[Any, ...]]:
        by = ", ".join(f'"{name}"' for name in ("device", *tags))
        names = ", ".join(f'"{name}"' for name in ("device", "t", *tags, *fields))
        newest = f"row_number() over (partition by {by} order by t desc) = 1"

        def query(source: str) -> Query:
            return f"select {names} from {source} qualify {newest}", []

        return self._ask(measurement, int(time.time() * 1000) - LATEST_DAYS * DAY, FOREVER, query)

    def received(self) -> Iterator[ReceivedRow]:
        """See ``store.Store``."""
        yield from self._db.cursor().execute('select device, epoch, "first", "last" from received').fetchall()

    def lows(self) -> Iterator[Low]:
        """See ``store.Store``."""
        yield from self._db.cursor().execute("select device, epoch, low, heard from low").fetchall()

    def upkeep(self, now: int, spooled: int) -> None:
        """See ``store.Store``: closes days and lets go of what is too old, once a day and at the first call."""
        today = (now - CLOSE_AFTER) // DAY
        if today <= self._closed_to:
            return
        whole = True
        try:
            for measurement in list(self._tables.columns):
                whole &= self._days.close(self._db, measurement, today)
            self._days.drop(self._db, self._keep_days)
            self._forget(min(now - KEEP, spooled))
            self._db.execute("checkpoint")
            self._days.sweep(self._db)
        except (duckdb.Error, OSError) as why:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            if isinstance(why, UNUSABLE):
                self._reopen()
            raise StoreDown(f"days can't be closed: {why}") from why
        if whole:
            self._closed_to = today

    def close(self) -> None:
        """See ``store.Store``."""
        self._db.close()

    def _unknown(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not stored yet, each once."""
        found = {(record.device, record.epoch, record.seq): record for record in records}
        return [record for key, record in found.items() if key not in self._received]

    def _forget(self, before: int) -> None:
        old = self._received.forget(before)
        if old:
            self._delete_received(old)

    def _delete_received(self, keys: Collection[tuple[str, int]]) -> None:
        arguments = [[device for device, _ in keys], [epoch for _, epoch in keys]]
        both = "select unnest(?::varchar[]), unnest(?::bigint[])"
        for table in ("received", "low"):
            self._db.execute(f"delete from {table} where (device, epoch) in ({both})", arguments)

    def _note_received(self, keys: set[tuple[str, int]], known: Received) -> None:
        self._delete_received(keys)
        for table, rows in (("received", list(known.rows(keys))), ("low", list(known.lows(keys)))):
            columns = [list(column) for column in zip(*rows, strict=True)]
            picks = ", ".join("unnest(?::bigint[])" for _ in columns[1:])
            self._db.execute(f"insert into {table} select unnest(?::varchar[]), {picks}", columns)

    def _ask(self, measurement: str, start: int, stop: int, make: Callable[[str], Query]) -> list[tuple[Any, ...]]:
        """Ask of hot rows and closed days alike: ``make`` gets what to select from for [start, stop), milliseconds."""
        try:
            with closing(self._db.cursor()) as cursor:
                self._asking.add(cursor)
                try:
                    cursor.begin()  # manifest and rows as of one instant
                    sql, arguments = make(self._days.source(cursor, measurement, start, stop))
                    return cursor.execute(sql, list(arguments)).fetchall()
                finally:
                    self._asking.discard(cursor)
        except duckdb.Error as why:
            raise StoreDown(str(why)) from why
