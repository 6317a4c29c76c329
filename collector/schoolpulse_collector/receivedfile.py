"""Which reports a store has, for stores that can't note that in the transaction of the data itself: a SQLite file.

It is written after the store has taken a batch and before the spool lets go of it, so spool and file together always
know every report that ever got a receipt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from schoolpulse_collector.received import Low, Received, Row
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import StoreDown

TABLES = """
create table if not exists received(device text, epoch integer, "first" integer, "last" integer);
create index if not exists received_of on received(device, epoch);
create table if not exists low(device text, epoch integer, low integer, heard integer,
  primary key (device, epoch));
"""


class ReceivedFile:
    """Ranges of seqs by (device, epoch), and the lows."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")  # a power cut must not forget what the spool let go of
            self._db.executescript(TABLES)
        except (sqlite3.Error, OSError) as why:
            raise StoreDown(f"{path}: {why}") from why
        self._path = path
        self._known = Received(self.rows(), self.lows())

    def note(self, records: Sequence[Record]) -> None:
        """Add these reports, durable when it returns. Raises StoreDown."""
        keys = {(record.device, record.epoch) for record in records}
        for record in records:
            self._known.add(record.device, record.epoch, record.seq)
            self._known.held_from(record.device, record.epoch, record.low, record.arrived)
        try:
            with self._db:
                self._db.executemany("delete from received where device = ? and epoch = ?", keys)
                self._db.executemany("insert into received values (?, ?, ?, ?)", self._known.rows(keys))
                self._db.executemany("insert or replace into low values (?, ?, ?, ?)", self._known.lows(keys))
        except sqlite3.Error as why:
            raise StoreDown(f"{self._path}: {why}") from why

    def forget(self, before: int) -> None:
        """Let go of the epochs that were heard last before ``before``, UTC milliseconds. Raises StoreDown."""
        old = self._known.forget(before)
        try:
            with self._db:
                self._db.executemany("delete from received where device = ? and epoch = ?", old)
                self._db.executemany("delete from low where device = ? and epoch = ?", old)
        except sqlite3.Error as why:
            raise StoreDown(f"{self._path}: {why}") from why

    def rows(self) -> Iterator[Row]:
        """All ranges."""
        yield from self._db.execute('select device, epoch, "first", "last" from received').fetchall()

    def lows(self) -> Iterator[Low]:
        """All lows."""
        yield from self._db.execute("select device, epoch, low, heard from low").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()
