"""The embedded store's hot tables, one a measurement, a column each tag and field; only the writer alters them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import duckdb

from schoolpulse_agent import probe
from schoolpulse_agent.wire import BadReport, split_group
from schoolpulse_collector import delivery
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import Refusal

REPORT = tuple(("report", field) for field in ("epoch", "seq", "lag_ms"))
KNOWN = (*probe.metrics(), *delivery.METRICS, *REPORT)  # (measurement, field)
MAX_TABLES, MAX_COLUMNS = 300, 500  # one device must not fill the store with made-up names
REFUSED = "a name of the store's own, a tag here and a field elsewhere, or too many names"
KEYS = {"t": "BIGINT", "device": "VARCHAR", "school": "VARCHAR", "room": "VARCHAR", "kind": "VARCHAR"}
Columns = dict[str, str]  # name -> DuckDB type: VARCHAR is a tag, DOUBLE a field
Rows = list[dict[str, float | str]]


class Tables:
    """The tables of schema ``m`` in one database. ``columns``: of each measurement."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        db.execute("create schema if not exists m")  # a measurement may have any name
        self.columns = self._schema()

    def columns_of(self, measurement: str) -> Columns:
        """A copy, for the writer may be adding to it; empty if there is no such measurement."""
        return dict(self.columns.get(measurement, {}))

    def rows(self, records: Sequence[Record]) -> tuple[dict[str, Rows], list[Refusal]]:
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
        columns = self.columns.get(measurement)
        if columns is None:
            # Its known fields at once: nobody can make a tag of one of their names first.
            fields_known = {field: "DOUBLE" for known, field in KNOWN if known == measurement}
            if len(self.columns) >= MAX_TABLES and not fields_known:  # made-up names must not shut known ones out
                return False
            columns = KEYS | fields_known
            kinds = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            self._db.execute(f'create table m."{measurement}" ({kinds})')
            self.columns[measurement] = columns
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

    def insert(self, measurement: str, rows: Rows) -> None:
        """One statement a table: lists go 60 times faster than executemany."""
        columns = self.columns[measurement]
        names = [name for name in columns if any(name in row for row in rows)]
        picks = ", ".join(f'unnest(?::{columns[name]}[]) as "{name}"' for name in names)
        self._db.execute(
            f'insert into m."{measurement}" by name select {picks}',
            [[row.get(name) for row in rows] for name in names],
        )

    def _schema(self) -> dict[str, Columns]:
        found: dict[str, Columns] = defaultdict(dict)
        rows = self._db.execute(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = 'm'"
            " order by table_name, ordinal_position"
        ).fetchall()
        for table, column, kind in rows:
            found[table][column] = kind
        return dict(found)
