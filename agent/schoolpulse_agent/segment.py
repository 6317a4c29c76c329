"""Files of records in checked blocks: how an outbox keeps reports on disk and in tmpfs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from schoolpulse_agent.ranges import Ranges

Records = dict[int, bytes]  # seq -> one report as JSON, without a newline
HEAD = struct.Struct("<4sIIH")  # mark, body length, crc32 of the body, records in the block
MARK = b"SPB1"  # lets a reader find the next block after a damaged one
MAX_BLOCK = 2**20


def pack(records: Records, level: int = 6) -> bytes:
    """One block."""
    body = zlib.compress(b"\n".join(b"%d %b" % item for item in records.items()), level)
    return HEAD.pack(MARK, len(body), zlib.crc32(body), len(records)) + body


def blocks(data: bytes, at: int = 0) -> Iterator[tuple[int, Records | None]]:
    """Yield (offset, records) of each block, None for the records of a damaged stretch; a torn tail is just the end."""
    while at + HEAD.size <= len(data):
        records, end = _block(data, at)
        if records is not None:
            yield at, records
            at = end
            continue
        after = data.find(MARK, at + 1)
        while after >= 0 and _block(data, after)[0] is None:  # a body may hold the mark by chance
            after = data.find(MARK, after + 1)
        if after < 0 and len(data) < end <= at + HEAD.size + MAX_BLOCK:
            return  # killed while writing it: nobody was told that it is kept
        yield at, None
        if after < 0:
            return
        at = after


def _block(data: bytes, at: int) -> tuple[Records | None, int]:
    """The records of the block at an offset, None if it is not whole and right, and where it would end."""
    if at + HEAD.size > len(data):
        return None, at
    mark, size, crc, count = HEAD.unpack_from(data, at)
    end = at + HEAD.size + size
    body = data[at + HEAD.size : end]
    if mark != MARK or not 0 < size <= MAX_BLOCK or len(body) != size or zlib.crc32(body) != crc:
        return None, end if mark == MARK else at
    records = dict(_split(line) for line in zlib.decompress(body).split(b"\n"))
    return (records if len(records) == count else None), end


def write(fd: int, data: bytes) -> None:
    """Append all of data or nothing. Raises OSError."""
    end = os.lseek(fd, 0, os.SEEK_END)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(28, "no space left on device")
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, end)  # a torn block must not stand before the next one
        raise


def short_hash(text: str) -> str:
    """A few letters that tell one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Segment:
    """One file on disk: ``<number>-<epoch>.seg``. ``held``: the seqs in it that no receipt has named."""

    def __init__(self, path: Path, number: int, epoch: int) -> None:
        self.path, self.number, self.epoch = path, number, epoch
        self.held = Ranges()
        self.size = 0
        self._blocks: list[tuple[int, int, int]] = []  # offset, first and last seq

    @classmethod
    def create(cls, folder: Path, number: int, epoch: int) -> Segment:
        """A new, empty segment. Raises OSError."""
        part = cls(folder / f"{number:08d}-{epoch}.seg", number, epoch)
        os.close(os.open(part.path, os.O_CREAT | os.O_WRONLY, 0o600))
        if os.name == "posix":  # make the name itself durable
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return part

    @classmethod
    def open(cls, path: Path) -> tuple[Segment, int] | None:
        """Read what an earlier start wrote, and how many blocks are damaged; None for a file that isn't ours."""
        number, _, epoch = path.stem.partition("-")
        if not (number.isdigit() and epoch.isdigit()):
            return None
        part, bad = cls(path, int(number), int(epoch)), 0
        data = path.read_bytes()
        part.size = len(data)
        for offset, records in blocks(data):
            if records:
                part._note(offset, records)
            else:
                bad += 1
        return part, bad

    def append(self, records: Records, count: int) -> None:
        """Write blocks of ``count`` records and make them durable. Raises OSError; then nothing was added."""
        seqs = sorted(records)
        parts = [{seq: records[seq] for seq in seqs[i : i + count]} for i in range(0, len(seqs), count)]
        packed = [pack(part) for part in parts]
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            offset = os.lseek(fd, 0, os.SEEK_END)
            write(fd, b"".join(packed))
            getattr(os, "fdatasync", os.fsync)(fd)
        finally:
            os.close(fd)
        for part, data in zip(parts, packed):
            self._note(offset, part)
            offset += len(data)
        self.size = offset

    def read(self, wanted: Ranges, limit: int) -> tuple[Records, int]:
        """Up to ``limit`` held records whose seq is wanted; blocks that can't be read are given up and counted."""
        found: Records = {}
        bad = 0
        try:
            data = self.path.read_bytes()
        except OSError:  # perhaps only now: nothing is given up for it
            return {}, 0
        for offset, first, last in list(self._blocks):
            if len(found) >= limit:
                break
            mine = [seq for seq in range(first, last + 1) if seq in wanted and seq in self.held]
            if not mine:
                continue
            _, records = next(blocks(data, offset), (0, None))
            if records is None:
                bad += 1
                self.held.discard(first, last)
                continue
            found.update((seq, records[seq]) for seq in mine if seq in records)
        return {seq: found[seq] for seq in sorted(found)[:limit]}, bad

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _note(self, offset: int, records: Records) -> None:
        self._blocks.append((offset, min(records), max(records)))
        for seq in records:
            self.held.add(seq)


def _split(line: bytes) -> tuple[int, bytes]:
    seq, _, record = line.partition(b" ")
    return int(seq), record
