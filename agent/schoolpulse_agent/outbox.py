"""Reports that no receipt has named yet. What is in it survives kill -9 and, once on disk, power cuts.

While the centre answers, a report lives some milliseconds in a file in tmpfs: no disk is written. When reports have
waited a minute for their receipt (or at a clean stop) they move to segments on disk. Deleted is exactly what a receipt
names, and, when the bound is reached, the oldest segment, counted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Callable

from schoolpulse_agent import segment
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.segment import Records, Segment
from schoolpulse_agent.wire import Epochs, Groups, Report, encode_report

log = logging.getLogger(__name__)

SPILL_AFTER = 60.0  # seconds without a receipt until a report goes to disk ...
BLOCK_WAIT = 600.0  # ... but a block that is not full waits up to so long: 3.5 kB written a report instead of 30 kB
BLOCK = 10  # records compressed together on disk
SEGMENT_BYTES = 256 * 1024
LIVE_BYTES = 512 * 1024  # of tmpfs, then it is written anew with what is still held
RING = 600  # records kept in memory alone when neither tmpfs nor disk takes them


class Outbox:
    """One sender's unconfirmed reports. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        folder: Path,
        live_folder: Path | None = None,
        keep_bytes: int = 4 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.keep_bytes = keep_bytes
        self.epoch = secrets.randbits(32)  # new at every start: no clone or restored disk can repeat (epoch, seq)
        self.dropped = 0  # reports given up since start, bound reached
        self.damaged = 0  # blocks that could not be read, since start
        self._seq = 0
        self._clock = clock
        self._live: dict[int, Records] = {}  # not on disk yet
        self._ages: dict[tuple[int, int], float] = {}  # when each of them was appended, the oldest first
        folder.mkdir(parents=True, exist_ok=True)
        self._live_folder = live_folder or _tmpfs(folder)
        self._live_folder.mkdir(parents=True, exist_ok=True)
        self._live_fd: int | None = None
        self._live_bytes = 0
        self._unsafe = False  # whether the last report is in memory alone
        self._segments = self._find_segments()
        self._find_live()

    def append(self, t: int, up: float, m: Groups, child: str | None = None) -> int:
        """Keep a report and return its seq. After the return it survives kill -9."""
        self._seq += 1
        record = encode_report(Report(self._seq, t, up, m, child))
        self._live.setdefault(self.epoch, {})[self._seq] = record
        self._ages[self.epoch, self._seq] = self._clock()
        try:
            if self._live_fd is None:
                self._live_fd = os.open(self._live_path(self.epoch), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            block = segment.pack({self._seq: record}, level=1)
            segment.write(self._live_fd, block)
            self._live_bytes += len(block)
            self._unsafe = False
            if self._live_bytes > LIVE_BYTES:  # what was receipted still takes room in it
                self._rewrite_live(self.epoch)
        except OSError as why:
            if not self._unsafe:  # once, not at every report
                log.warning("%s: %s; reports are kept in memory", self._live_folder, why.strerror)
            self._unsafe = True
        return self._seq

    @property
    def newest(self) -> int:
        """The seq of this start's newest report; 0: there is none yet."""
        return self._seq

    def held(self) -> Epochs:
        """What has no receipt yet, by epoch, the oldest epoch first and the present one last."""
        found: Epochs = {}
        for part in self._segments:
            mine = found.setdefault(part.epoch, Ranges())
            for first, last in part.held:
                mine.add(first, last)
        for epoch, records in self._live.items():
            mine = found.setdefault(epoch, Ranges())
            for seq in records:
                mine.add(seq)
        if self.epoch in found:
            found[self.epoch] = found.pop(self.epoch)
        return found

    def low(self, epoch: int) -> int:
        """The lowest seq of an epoch that is held; when none is, the next one that could be."""
        firsts = [part.held.first for part in self._segments if part.epoch == epoch and part.held.first]
        firsts += list(self._live.get(epoch, ()))[:1]
        return min(firsts) if firsts else self._seq + 1

    def read(self, epoch: int, wanted: Ranges, limit: int) -> Records:
        """Up to ``limit`` records whose seq is wanted, the lowest first; what can't be read is counted and given up."""
        found: Records = {}
        for part in self._segments:
            if part.epoch == epoch:
                records, bad = part.read(wanted, limit)
                found.update(records)
                self.damaged += bad
        for part in [part for part in self._segments if not part.held]:
            self._remove(part)  # all of it turned out to be damaged
        for seq, record in self._live.get(epoch, {}).items():
            if seq in wanted:
                found[seq] = record
        return {seq: found[seq] for seq in sorted(found)[:limit]}

    def receipt(self, epochs: Epochs) -> None:
        """Delete exactly what the collector says is durable with it."""
        for epoch, ranges in epochs.items():
            for part in [part for part in self._segments if part.epoch == epoch]:
                for first, last in ranges:
                    part.held.discard(first, last)
                if not part.held:
                    self._remove(part)
            records = self._live.get(epoch)
            if records:
                self._live[epoch] = {seq: record for seq, record in records.items() if seq not in ranges}
                self._forget_if_empty(epoch)
                for key in [key for key in self._ages if key[0] == epoch and key[1] in ranges]:
                    del self._ages[key]

    def restamp(self, shift: int) -> None:
        """Move the time of each report of this start by so many milliseconds; call it before any was published."""
        if not shift:
            return
        records = self.read(self.epoch, Ranges([(1, self._seq)]), self._seq)
        for seq, record in records.items():
            report = json.loads(record)
            t = max(0, report["t"] + shift)
            records[seq] = encode_report(Report(seq, t, report["up"], report["m"], report.get("child")))
        log.warning("the clock was wrong: %d reports got their right time", len(records))
        old = [part for part in self._segments if part.epoch == self.epoch]
        self._live[self.epoch] = records
        self._ages.update(((self.epoch, seq), self._ages.get((self.epoch, seq), self._clock())) for seq in records)
        self._rewrite_live(self.epoch)
        if old:  # what was on disk is on disk again before the old ones go
            try:
                part = Segment.create(self.folder, self._segments[-1].number + 1, self.epoch)
                part.append(records, BLOCK)
            except OSError as why:
                log.warning("%s: %s; reports keep their wrong time", self.folder, why.strerror)
                return
            self._segments.append(part)
            self._live[self.epoch] = {}
            self._ages = {key: age for key, age in self._ages.items() if key[0] != self.epoch}
            self._forget_if_empty(self.epoch)
        for part in old:
            if all(seq in records for seq in part.held.numbers()):  # one that can't be read just now stays
                self._remove(part)

    def tick(self) -> None:
        """Move to disk what has waited too long; call it about once a report."""
        if not self._ages:
            return
        waited = self._clock() - next(iter(self._ages.values()))
        if (waited >= SPILL_AFTER and len(self._ages) >= BLOCK) or waited >= BLOCK_WAIT:
            self.spill()

    def spill(self) -> None:
        """Write everything to disk, durable against a power cut when it returns; keeps a bounded ring if it can't."""
        now = self._clock()
        for epoch in list(self._live):
            if self._spill_epoch(epoch, self._live[epoch]):
                self._live[epoch] = {}
                self._forget_if_empty(epoch)
            else:
                self._keep_a_ring(epoch)
        self._ages = {(epoch, seq): now for epoch, records in self._live.items() for seq in records}
        while len(self._segments) > 1 and sum(part.size for part in self._segments) > self.keep_bytes:
            self._drop_oldest()

    def close(self) -> None:
        """Move all to disk: a clean stop may be followed by the power switch."""
        self.spill()
        if self._live_fd is not None:
            os.close(self._live_fd)
            self._live_fd = None
        with contextlib.suppress(OSError):
            if self.epoch not in self._live:
                self._live_path(self.epoch).unlink(missing_ok=True)
            if self._live_folder != self.folder:
                self._live_folder.rmdir()  # empty unless something could not be written to disk

    def _spill_epoch(self, epoch: int, records: Records) -> bool:
        for attempt in range(2):
            try:
                part = self._segments[-1] if self._segments else None
                if part is None or part.epoch != epoch or part.size >= SEGMENT_BYTES:
                    number = part.number + 1 if part else 1
                    part = Segment.create(self.folder, number, epoch)
                    self._segments.append(part)
                part.append(records, BLOCK)
            except OSError as why:
                if attempt or why.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._drop_oldest():
                    log.warning("%s: %s; reports are kept in memory", self.folder, why.strerror)
                    return False
            else:
                return True
        return False

    def _keep_a_ring(self, epoch: int) -> None:
        """Without a disk: the newest reports only, in memory and, if it takes them, in tmpfs."""
        records = self._live[epoch]
        excess = sorted(records)[:-RING]
        if not excess:
            return
        self.dropped += len(excess)
        for seq in excess:
            del records[seq]
        self._rewrite_live(epoch)

    def _rewrite_live(self, epoch: int) -> None:
        path, records = self._live_path(epoch), self._live[epoch]
        with contextlib.suppress(OSError):
            fresh = path.with_suffix(".new")  # written aside: a kill must not find half of it
            fresh.write_bytes(b"".join(segment.pack({seq: record}, level=1) for seq, record in records.items()))
            fresh.replace(path)
            if epoch == self.epoch and self._live_fd is not None:
                os.close(self._live_fd)
                self._live_fd, self._live_bytes = None, 0

    def _drop_oldest(self) -> bool:
        """Give up the oldest segment, counted. False if there is none."""
        part = next((part for part in self._segments if part.held), None)
        if part is None:
            return False
        self.dropped += len(part.held)
        log.warning("outbox full: dropped %d unconfirmed reports, the oldest", len(part.held))
        self._remove(part)
        return True

    def _remove(self, part: Segment) -> None:
        part.discard()
        self._segments.remove(part)

    def _forget_if_empty(self, epoch: int) -> None:
        if self._live[epoch]:
            return
        del self._live[epoch]
        with contextlib.suppress(OSError):
            if epoch == self.epoch and self._live_fd is not None:
                os.ftruncate(self._live_fd, 0)
                self._live_bytes = 0
            else:
                self._live_path(epoch).unlink()

    def _live_path(self, epoch: int) -> Path:
        return self._live_folder / f"{epoch}.live"

    def _find_segments(self) -> list[Segment]:
        found = []
        for path in sorted(self.folder.glob("*.seg")):
            try:
                opened = Segment.open(path)
            except OSError as why:  # it stays; another start may read it
                log.error("%s can't be read: %s", path, why.strerror)
                continue
            if opened is None:
                continue
            part, bad = opened
            self.damaged += bad
            if part.held:
                found.append(part)
            else:
                part.discard()
        return found

    def _find_live(self) -> None:
        """Take up what an earlier start of this agent left in tmpfs."""
        for path in sorted(self._live_folder.glob("*.live"), key=lambda path: path.stat().st_mtime_ns):
            records: Records = {}
            for _, block in segment.blocks(path.read_bytes()):
                if block is None:
                    self.damaged += 1
                else:
                    records.update(block)
            if records and path.stem.isdigit():
                self._live[int(path.stem)] = records
                self._ages.update(((int(path.stem), seq), self._clock()) for seq in records)
            else:
                path.unlink()


def _tmpfs(folder: Path) -> Path:
    """A folder in memory for this outbox alone; the outbox's own folder where there is none (Windows)."""
    name = f"schoolpulse-{segment.short_hash(str(folder.resolve()))}"
    for parent in (os.environ.get("RUNTIME_DIRECTORY"), "/dev/shm"):  # noqa: S108 - checked below to be ours
        if not parent or not Path(parent).is_dir():
            continue
        try:
            path = Path(parent) / name
            path.mkdir(mode=0o700, exist_ok=True)
            facts = path.lstat()
            if facts.st_uid == os.geteuid() and not facts.st_mode & 0o077:  # another user may have made it first
                return path
        except OSError:
            continue
    return folder
