"""Records on disk between broker and store: what is in it survives anything but the loss of the disk.

Files of blocks, as in an outbox; records are numbered, and a file's name is the number of its first record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from schoolpulse_agent import segment

SEGMENT_BYTES = 8 * 2**20
ROLL_AFTER = 3600.0  # seconds: what is stored must not lie in a half-filled segment for weeks
KEEP_BYTES = 4 * 2**30  # when so much waits for the store, no more is taken in
BLOCK_BYTES = segment.MAX_BLOCK // 2  # before compression


class Place(NamedTuple):
    """A point between two records; places compare in order."""

    first: int  # names the segment: the number of its first record
    offset: int  # bytes into it


class Spool:
    """Append from one thread, read from others."""

    def __init__(self, folder: Path, segment_bytes: int | None = None, keep_bytes: int = KEEP_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._damaged: set[Place] = set()
        self._segment_bytes, self._keep_bytes = segment_bytes or SEGMENT_BYTES, keep_bytes
        self._fd: int | None = None
        self._opened = 0.0
        self._end = Place(0, 0)
        self._next = self._repair()

    def append(self, records: list[bytes]) -> None:
        """Keep records, durable when it returns. Raises OSError; then none of them was kept, and a retry may help."""
        if self._fd is None or self._end.offset >= self._segment_bytes or time.monotonic() - self._opened > ROLL_AFTER:
            if self.bytes_after(self.start()) + self._segment_bytes > self._keep_bytes:
                raise OSError(
                    errno.EDQUOT, f"the spool has its {self._keep_bytes // 2**20} MB; the store must take them"
                )
            self._open(self._next)
        assert self._fd is not None
        end = os.lseek(self._fd, 0, os.SEEK_END)
        numbered = enumerate(records, self._next)
        segment.write(self._fd, b"".join(segment.pack(part, level=1) for part in _parts(numbered)))
        try:
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, end)
            raise
        self._next += len(records)
        self._end = Place(self._end.first, os.lseek(self._fd, 0, os.SEEK_END))

    def start(self) -> Place:
        """Where the oldest record is."""
        firsts = self._firsts()
        return Place(firsts[0], 0) if firsts else self._end

    def read(self, place: Place) -> Iterator[tuple[list[bytes], Place]]:
        """Yield blocks of records from a place on, each with the place after it; ends where the writer is now."""
        for first in [first for first in self._firsts() if first >= place.first]:
            offset = place.offset if first == place.first else 0
            with self._path(first).open("rb") as file:
                file.seek(offset)
                end = self._end  # what the writer is in the middle of is not read yet
                data = file.read(max(0, end.offset - offset)) if first == end.first else file.read()
            for at, records in segment.blocks(data):
                if records is None:
                    self._damaged.add(Place(first, offset + at))
                    continue
                size = segment.HEAD.size + segment.HEAD.unpack_from(data, at)[1]
                yield list(records.values()), Place(first, offset + at + size)

    def release(self, place: Place) -> None:
        """Delete the segments that lie wholly before place: everything in them is surely stored."""
        for first in self._firsts():
            if first < place.first:
                self._path(first).unlink(missing_ok=True)

    @property
    def damaged(self) -> int:
        """How many blocks could not be read since start."""
        return len(self._damaged)

    def bytes_after(self, place: Place) -> int:
        """How much waits after a place."""
        total = 0
        for first in self._firsts():
            if first >= place.first:
                with contextlib.suppress(FileNotFoundError):
                    total += self._path(first).stat().st_size - (place.offset if first == place.first else 0)
        return total

    def close(self) -> None:
        """Close the file; everything in it is durable already."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:020d}.spool"

    def _firsts(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.spool"))

    def _open(self, first: int) -> None:
        self.close()
        self._fd = os.open(self._path(first), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # make the file's name durable
        finally:
            os.close(folder)
        self._end = Place(first, os.lseek(self._fd, 0, os.SEEK_END))
        self._opened = time.monotonic()

    def _repair(self) -> int:
        """Cut off a tail that a kill tore; return the number of the next record."""
        firsts = self._firsts()
        if not firsts:
            return 1
        path, number, whole = self._path(firsts[-1]), firsts[-1], 0
        data = path.read_bytes()
        for at, records in segment.blocks(data):
            if records:
                whole = at + segment.HEAD.size + segment.HEAD.unpack_from(data, at)[1]
                number = max(records) + 1
        with path.open("r+b") as file:
            file.truncate(whole)
        self._open(firsts[-1])
        self._opened = -ROLL_AFTER  # whatever comes now goes into a new one
        return number


def _parts(numbered: Iterator[tuple[int, bytes]]) -> Iterator[dict[int, bytes]]:
    """Cut a run of records into blocks that a reader takes."""
    part: dict[int, bytes] = {}
    size = 0
    for number, record in numbered:
        part[number] = record
        size += len(record)
        if size >= BLOCK_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part
