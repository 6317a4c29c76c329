"""The embedded store: one DuckDB file, a table a measurement, written and asked inside this process only.

DuckDB lets one process open a file. Rows and the ranges of received reports go in one transaction, so a report that
comes again after a crash is known and left out. The database holds the hot days; those before are files (``days.py``).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb

from schoolpulse_agent import probe
from schoolpulse_agent.wire import BadReport, group_key, split_group
from schoolpulse_collector.days import DAY, MANIFEST, Days
from schoolpulse_collector.received import Low, Received
from schoolpulse_collector.received import Row as ReceivedRow
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import Frame, Row, Series
from schoolpulse_collector.sql import LOOK_BACK, Arguments, to_sql
from schoolpulse_collector.store import KEEP, Last, Refusal, StoreDown

KNOWN = tuple(probe.metrics())  # (measurement, field)
MAX_TABLES, MAX_COLUMNS = 300, 500  # one device must not fill the store with made-up names
REFUSED = "a name of the store's own, a tag here and a field elsewhere, or too many names"
KEYS = {"t": "BIGINT", "device": "VARCHAR", "school": "VARCHAR", "room": "VARCHAR", "kind": "VARCHAR"}
MOMENT = ("school", "room", "kind")  # tags that tell where a device stood, not which series this is
KEEP_DAYS = 400  # of samples: a school year, and the same week of the year before
CLOSE_AFTER = 14 * 3_600_000  # milliseconds after a UTC day's end: 21:00 in Việt Nam, when schools are dark
LATEST_DAYS = 7  # how far back a start looks for last values
Columns = dict[str, str]  # name -> DuckDB type: VARCHAR is a tag, DOUBLE a field
Query = tuple[str, Arguments]
FOREVER = 2**62
Rows = list[dict[str, float | str]]


def open_url(url: str, _folder: Path) -> DuckDB:
    """Open ``duckdb:///path/to/file`` or ``duckdb:///path/to/file?days=90``. Raises StoreDown, ValueError."""
    parts, asked = urlsplit(url), parse_qs(urlsplit(url).query)
    days = asked.pop("days", [str(KEEP_DAYS)])[0]
    if not parts.path.startswith("/") or parts.netloc or asked or not days.isdigit() or not int(days):
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
        self._db.execute("create schema if not exists m")  # a measurement may have any name
        self._db.execute(
            'create table if not exists received(device varchar, epoch bigint, "first" bigint, "last" bigint)'
        )
        self._db.execute("create table if not exists low(device varchar, epoch bigint, low bigint, heard bigint)")
        self._db.execute(MANIFEST)
        self._tables = self._schema()
        self._cursors, self._open_cursors = threading.local(), list[duckdb.DuckDBPyConnection]()

    def _reopen(self) -> None:
        """Raises StoreDown."""
        try:
            for cursor in self._open_cursors:  # each of them would keep the unusable database alive
                cursor.close()
            self._db.close()
            self._open()
        except duckdb.Error as why:
            raise StoreDown(f"{self._path}: {why}") from why

    def running_since(self) -> float:
        """See ``store.Store``."""
        return 0.0

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """See ``store.Store``."""
        fresh = self._unknown(records)
        keys = {(record.device, record.epoch) for record in fresh}
        known = self._received.part(keys)  # a copy: what is not committed must not count as stored
        for record in fresh:
            known.add(record.device, record.epoch, record.seq)
            known.held_from(record.device, record.epoch, record.low, record.arrived)
        try:
            rows, refusals = self._rows(fresh)  # alters tables, which can't be in the transaction that fills them
            self._db.begin()
            for measurement, table in rows.items():
                self._insert(measurement, table)
            if keys:
                self._note_received(keys, known)
            self._db.commit()
        except BaseException as why:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            if isinstance(why, duckdb.FatalException):
                self._reopen()  # a disk that was full at a checkpoint leaves the open database unusable, the file whole
            if isinstance(why, duckdb.Error):
                raise StoreDown(str(why)) from why
            raise
        self._received.take(known)
        return refusals

    def query(self, series: Series) -> Frame:
        """See ``store.Store``."""
        columns = dict(self._tables.get(series.measurement, {}))  # the writer may be adding to it
        if columns.get(series.field) != "DOUBLE":
            return Frame(series.group_by, [])
        tags = [name for name, kind in columns.items() if kind == "VARCHAR"]
        identity = [tag for tag in tags if tag not in MOMENT]
        start, stop = (series.first - LOOK_BACK) * 1000, series.stop * 1000
        rows = self._ask(series.measurement, start, stop, lambda source: to_sql(series, tags, identity, source))
        return Frame(
            series.group_by, [Row(int(row[0]), tuple(tag or "" for tag in row[1:-1]), float(row[-1])) for row in rows]
        )

    def latest(self) -> Iterator[Last]:
        """See ``store.Store``; of the last days, and all that came late."""
        for measurement, columns in [(name, dict(columns)) for name, columns in list(self._tables.items())]:
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

    def upkeep(self, now: int) -> None:
        """See ``store.Store``: closes days and lets go of what is too old, once a day and at the first call."""
        today = (now - CLOSE_AFTER) // DAY
        if today <= self._closed_to:
            return
        try:
            oldest = today - self._keep_days
            for measurement in list(self._tables):
                self._db.execute(f'delete from m."{measurement}" where t < {oldest * DAY}')
                self._days.close(self._db, measurement, today)
            self._days.drop(self._db, oldest)
            self._forget(now - KEEP)
            self._db.execute("checkpoint")
            self._days.sweep(self._db)
        except (duckdb.Error, OSError) as why:
            with contextlib.suppress(duckdb.Error):
                self._db.rollback()
            if isinstance(why, duckdb.FatalException):
                self._reopen()
            raise StoreDown(f"days can't be closed: {why}") from why
        self._closed_to = today

    def close(self) -> None:
        """See ``store.Store``."""
        self._db.close()

    def _unknown(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not stored yet, each once."""
        found = {(record.device, record.epoch, record.seq): record for record in records}
        return [record for key, record in found.items() if key not in self._received]

    def _rows(self, records: Sequence[Record]) -> tuple[dict[str, Rows], list[Refusal]]:
        """Sort records into rows of tables; a group that would use a column in two ways is refused."""
        rows: dict[str, Rows] = defaultdict(list)
        refusals: list[Refusal] = []
        for record in records:
            if not record.m:
                continue
            place: dict[str, Any] = {"t": record.t, "device": record.device, "school": record.school}
            place |= {"room": record.room, "kind": record.kind}
            rows["report"].append(
                place | {"epoch": float(record.epoch), "seq": float(record.seq), "lag_ms": float(record.lag)}
            )
            self._make_room("report", (), ("epoch", "seq", "lag_ms"))
            for key, fields in record.m.items():
                try:
                    measurement, tags = split_group(key)
                except BadReport as why:  # another version spooled it
                    refusals.append(Refusal(record, key, str(why)))
                    continue
                if measurement == "report" or not self._make_room(measurement, dict(tags), fields):
                    refusals.append(Refusal(record, key, REFUSED))
                    continue
                rows[measurement].append({**place, **dict(tags), **fields})
        return rows, refusals

    def _make_room(self, measurement: str, tags: Any, fields: Any) -> bool:
        """Let the table have these columns; only the writer alters. False if one is of the other kind, or too many."""
        columns = self._tables.get(measurement)
        if columns is None:
            if len(self._tables) >= MAX_TABLES:
                return False
            # Its known fields at once: nobody can make a tag of one of their names first.
            columns = KEYS | {field: "DOUBLE" for known, field in KNOWN if known == measurement}
            kinds = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            self._db.execute(f'create table m."{measurement}" ({kinds})')
            self._tables[measurement] = columns
        wanted = dict.fromkeys(tags, "VARCHAR") | dict.fromkeys(fields, "DOUBLE")
        if wanted.items() <= columns.items():
            return True
        new = wanted.keys() - columns.keys()
        if (
            any(columns.get(name, kind) != kind for name, kind in wanted.items())
            or len(columns) + len(new) > MAX_COLUMNS
        ):
            return False
        for name in new:
            self._db.execute(f'alter table m."{measurement}" add column "{name}" {wanted[name]}')
            columns[name] = wanted[name]
        return True

    def _insert(self, measurement: str, rows: Rows) -> None:
        """One statement a table: lists go 60 times faster than executemany."""
        columns = self._tables[measurement]
        names = [name for name in columns if any(name in row for row in rows)]
        picks = ", ".join(f'unnest(?::{columns[name]}[]) as "{name}"' for name in names)
        self._db.execute(
            f'insert into m."{measurement}" by name select {picks}',
            [[row.get(name) for row in rows] for name in names],
        )

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
            if not hasattr(self._cursors, "mine"):
                self._cursors.mine = self._db.cursor()  # one a thread; it sees what is committed
                self._open_cursors.append(self._cursors.mine)
            cursor = self._cursors.mine
            cursor.begin()  # manifest and rows as of one instant
            try:
                sql, arguments = make(self._days.source(cursor, measurement, start, stop))
                return cursor.execute(sql, list(arguments)).fetchall()  # type: ignore[no-any-return]
            finally:
                cursor.rollback()
        except duckdb.Error as why:
            raise StoreDown(str(why)) from why

    def _schema(self) -> dict[str, Columns]:
        found: dict[str, Columns] = defaultdict(dict)
        rows = self._db.execute(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = 'm'"
            " order by table_name, ordinal_position"
        ).fetchall()
        for table, column, kind in rows:
            found[table][column] = kind
        return dict(found)
