"""Closed days of the embedded store: one sorted Parquet file a measurement and day, listed in a manifest.

A day is written into a file, synced; then one transaction enters it in the manifest and deletes its rows from the hot
table. Readers go by the manifest alone, so a kill at any point leaves each row in exactly one place. Files that are
being written or were replaced stand in ``leftover``, and only those are ever deleted: an archive beside a lost database
stays. Late rows of a closed day stay hot until the next closing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb

log = logging.getLogger(__name__)

DAY = 86_400_000  # milliseconds
LINGER = 3600.0  # seconds that a replaced file stays for those who are reading it
SCHEMA = """
create table if not exists closed(day bigint, measurement varchar, file varchar);
create table if not exists leftover(file varchar, since double);
"""


class Days:
    """The files in one folder, and the manifest in the database they belong to. Only the writer changes anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def source(self, cursor: duckdb.DuckDBPyConnection, measurement: str, start: int, stop: int) -> str:
        """What to select from for rows of [start, stop), milliseconds; good within the cursor's transaction."""
        files = cursor.execute(
            "select file from closed where measurement = ? and day between ? and ? order by day",
            [measurement, start // DAY, stop // DAY],
        ).fetchall()
        hot = f'm."{measurement}"'
        if not files:
            return hot
        paths = ", ".join(_quoted(self.folder / file) for (file,) in files)
        return f"(from {hot} union all by name from read_parquet([{paths}], union_by_name = true))"

    def close(self, db: duckdb.DuckDBPyConnection, measurement: str, before: int) -> bool:
        """Move the rows of all days before day number ``before`` into files. False: some could not be; they stay."""
        query = f'select distinct t // {DAY} from m."{measurement}" where t < ? order by 1'
        whole = True
        for (day,) in db.execute(query, [before * DAY]).fetchall():
            try:
                self._close(db, measurement, day)
            except duckdb.FatalException:
                raise
            except (duckdb.Error, OSError) as why:  # a damaged file of that day, or no room: the others can be closed
                with contextlib.suppress(duckdb.Error):
                    db.rollback()
                log.error("day %d of %s can't be closed, its rows stay where they are: %s", day, measurement, why)
                whole = False
        return whole

    def drop(self, db: duckdb.DuckDBPyConnection, keep: int) -> None:
        """Let go of all but the newest ``keep`` days that have samples; by them, not by a clock that may be wrong."""
        newest = f"select distinct day from closed order by day desc limit {keep}"
        oldest = db.execute(f"select min(day) from ({newest})").fetchall()[0][0]
        if oldest is None:
            return
        db.begin()
        db.execute("insert into leftover select file, ? from closed where day < ?", [time.time(), oldest])
        db.execute("delete from closed where day < ?", [oldest])
        db.commit()

    def sweep(self, db: duckdb.DuckDBPyConnection, linger: float = LINGER) -> None:
        """Delete the files that a kill left half-written, and replaced ones that nobody reads any more."""
        now = time.time()
        for (file,) in db.execute("select file from leftover where since <= ?", [now - linger]).fetchall():
            (self.folder / file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                (self.folder / file).parent.rmdir()
            db.execute("delete from leftover where file = ?", [file])

    def _close(self, db: duckdb.DuckDBPyConnection, measurement: str, day: int) -> None:
        start, stop = day * DAY, (day + 1) * DAY
        date = datetime.fromtimestamp(start / 1000, UTC)
        file = f"{date:%Y-%m-%d}/{measurement}-{secrets.token_hex(4)}.parquet"
        mine = [day, measurement]
        db.execute("insert into leftover values (?, ?)", [file, time.time()])  # until it is in the manifest
        rows = f"select * from {self.source(db, measurement, start, start)} where t >= {start} and t < {stop}"
        self._write(db, f"{rows} order by device, t", self.folder / file)
        db.begin()
        db.execute(
            "insert into leftover select file, ? from closed where day = ? and measurement = ?", [time.time(), *mine]
        )
        db.execute("delete from closed where day = ? and measurement = ?", mine)
        db.execute("insert into closed values (?, ?, ?)", [*mine, file])
        db.execute("delete from leftover where file = ?", [file])
        db.execute(f'delete from m."{measurement}" where t >= {start} and t < {stop}')
        db.commit()

    def _write(self, db: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db.execute(f"copy ({rows}) to {_quoted(path)} (format parquet, compression zstd, row_group_size 50000)")
            for place in (path, path.parent, self.folder, self.folder.parent):  # the file, and the names
                _sync(place)
        except BaseException:
            path.unlink(missing_ok=True)  # or half of it would fill a disk that is full
            raise


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
