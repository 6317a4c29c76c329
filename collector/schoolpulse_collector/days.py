"""Closed days of the embedded store: one sorted Parquet file a measurement and day, listed in a manifest.

A day is written aside, synced and renamed; then one transaction enters it in the manifest and deletes its rows from
the hot table. Readers go by the manifest alone, so a kill at any point leaves each row in exactly one place, and
perhaps a file that nobody reads, which ``sweep`` deletes. Late rows of a closed day stay hot until the next closing.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb

DAY = 86_400_000  # milliseconds
LINGER = 3600.0  # seconds that a replaced file stays for those who are reading it
MANIFEST = "create table if not exists closed(day bigint, measurement varchar, file varchar)"


class Days:
    """The files in one folder, and the manifest in the database they belong to. ``close`` and ``drop``: writer only."""

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
        paths = ", ".join("'" + str(self.folder / file).replace("'", "''") + "'" for (file,) in files)
        return f"(from {hot} union all by name from read_parquet([{paths}], union_by_name = true))"

    def close(self, db: duckdb.DuckDBPyConnection, measurement: str, before: int) -> int:
        """Move the rows of all days before day number ``before`` into files; return how many days that were."""
        hot = f'm."{measurement}"'
        days = db.execute(f"select distinct t // {DAY} from {hot} where t < ? order by 1", [before * DAY]).fetchall()
        for (day,) in days:
            start, stop = day * DAY, (day + 1) * DAY
            file = f"{datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d}/{measurement}-{secrets.token_hex(4)}.parquet"
            rows = f"select * from {self.source(db, measurement, start, start)} where t >= {start} and t < {stop}"
            self._write(db, f"{rows} order by device, t", self.folder / file)
            db.begin()
            db.execute("delete from closed where day = ? and measurement = ?", [day, measurement])
            db.execute("insert into closed values (?, ?, ?)", [day, measurement, file])
            db.execute(f"delete from {hot} where t >= {start} and t < {stop}")
            db.commit()
        return len(days)

    def drop(self, db: duckdb.DuckDBPyConnection, before: int) -> None:
        """Let go of the days before day number ``before``."""
        db.execute("delete from closed where day < ?", [before])

    def sweep(self, db: duckdb.DuckDBPyConnection, linger: float = LINGER) -> None:
        """Delete files that are not in the manifest and that nobody reads any more."""
        known = {file for (file,) in db.execute("select file from closed").fetchall()}
        for path in self.folder.glob("*/*"):
            if str(path.relative_to(self.folder)) not in known and time.time() - path.stat().st_mtime >= linger:
                path.unlink()
        for folder in self.folder.glob("*"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _write(self, db: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        quoted = str(aside).replace("'", "''")
        db.execute(f"copy ({rows}) to '{quoted}' (format parquet, compression zstd, row_group_size 50000)")
        _sync(aside)
        aside.replace(path)
        for folder in (path.parent, self.folder, self.folder.parent):  # make the names durable
            _sync(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
