"""From the spool to the store: waits for records, writes them, repeats until the store has them, then lets go.

A write that fails opens the circuit: one batch is tried every 0.5 to 30 s, and all others wait in the spool. A store
that answers before it is durable is watched for ``settling`` seconds; if its server was restarted in that time,
everything since then is written again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import msgspec

from schoolpulse_collector import record as records
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters, Letter
from schoolpulse_collector.delivery import is_report
from schoolpulse_collector.record import Record
from schoolpulse_collector.spool import Place, Spool
from schoolpulse_collector.store import Store, StoreDown

log = logging.getLogger(__name__)

GATHER = 1.0  # seconds: one transaction a second costs a store the same for 5 or 5,000 records
BLOCKS = 16  # spool blocks written at once when behind
WAIT_MAX = 30.0
TEND_EVERY = 60.0
PATIENCE = 5.0  # seconds to write what waits before the end


class Written(NamedTuple):
    """How far the store had been written at an instant (monotonic seconds)."""

    at: float
    place: Place


class Shipper(threading.Thread):
    """One thread that owns the spool's reading end and the store's writing end."""

    def __init__(
        self,
        spool: Spool,
        store: Store,
        dead_letters: DeadLetters,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="shipper", daemon=True)
        self.place = self._settled = spool.start()  # everything before it is written; is surely durable
        self._unsettled: deque[Written] = deque()
        self._run: str | None = None
        self._clock, self._tend_at = clock, 0.0
        self._spool, self._store, self._dead_letters, self._counters = spool, store, dead_letters, counters
        self.works = True  # whether the last write succeeded
        self._stopping, self._stop_by = threading.Event(), 0.0

    def run(self) -> None:
        """Ship until stopped, and then what is still there."""
        while not self._stopping.wait(GATHER):
            try:
                if self._ship_all():  # a store may forget only what no spool holds any more
                    self._tend()
            except Exception:  # a mistake of ours: the records stay in the spool
                log.exception("shipping failed; trying again")
        self._ship_all()  # what has not settled stays in the spool for the next start

    def stop(self) -> None:
        """Write what is in the spool, if the store takes it within moments, and end."""
        self._stop_by = self._clock() + PATIENCE
        self._stopping.set()
        self.join()

    def _ship_all(self) -> bool:
        """Write what is in the spool. False: something is left."""
        if not self._settle():
            return False
        blocks = self._spool.read(self.place)
        while found := list(islice(blocks, BLOCKS)):
            batch = [record for lines, _ in found for record in self._decode(lines)]
            if not self._write(batch, found[-1][1]):
                return False
            self._unsettled.append(Written(self._clock(), self.place))
            if not self._settle() or self.place != found[-1][1]:
                return False  # from there, next time
            if self._stopping.is_set() and self._clock() > self._stop_by:
                return False
        return True

    def _tend(self) -> None:
        if self._clock() < self._tend_at:
            return
        self._tend_at = self._clock() + TEND_EVERY
        try:
            now = int(time.time() * 1000)
            self._store.upkeep(now, self._oldest(now))
        except StoreDown as why:
            log.error("the store's upkeep failed: %s; trying again in %g s", why, TEND_EVERY)

    def _oldest(self, now: int) -> int:
        """When the first record came that a restart would bring again, UTC milliseconds."""
        oldest = now
        for line in next(self._spool.read(self._spool.start()), ([], None))[0]:
            with contextlib.suppress(msgspec.DecodeError):
                oldest = min(oldest, records.decode(line).arrived)
        return oldest

    def _settle(self) -> bool:
        """Let go of what is surely durable, or go back to it if the server was restarted. False: it can't be asked."""
        try:
            run = self._store.run_id()
        except StoreDown as why:
            self._note_down(why)
            return False
        if run != self._run and self._unsettled:
            log.warning("the store may have lost what it got in the last %g s: that goes again", self._store.settling)
            self._counters.store_replays.inc()
            self._unsettled.clear()
            self.place = self._settled
        self._run = run
        while self._unsettled and self._unsettled[0].at + self._store.settling <= self._clock():
            self._settled = self._unsettled.popleft().place
        self._spool.release(self._settled)
        return True

    def _note_down(self, why: StoreDown) -> None:
        if self.works:  # once, not at every try
            log.error("the store takes nothing: %s; trying again every %g s at most", why, WAIT_MAX)
        self.works = False
        self._counters.store_errors.inc()

    def _write(self, batch: list[Record], after: Place) -> bool:
        wait = 0.5
        while True:
            try:
                refusals = self._store.write(batch)
            except StoreDown as why:
                self._note_down(why)
                if self._stopping.wait(wait):
                    return False
                wait = min(wait * 2, WAIT_MAX)
                continue
            self._counters.refused.labels("store").inc(len(refusals))
            self._keep([Letter(item.record.device, "store", f"{item.group}: {item.reason}") for item in refusals])
            self._counters.stored.inc(sum(map(is_report, batch)))
            self.place, self.works = after, True
            return True

    def _decode(self, lines: list[bytes]) -> list[Record]:
        found = []
        for line in lines:
            try:
                found.append(records.decode(line))
            except msgspec.DecodeError as why:  # its block's checksum was right: another version wrote it
                self._counters.refused.labels("spool").inc()
                self._keep([Letter("spool", f"spool: {why}", line)])
        return found

    def _keep(self, letters: list[Letter]) -> None:
        try:
            self._dead_letters.append(letters)
        except OSError as why:
            log.error("dead letters can't be kept: %s", why)
