"""From the spool to the store: waits for records, writes them, repeats until the store has them, then lets go.

A write that fails opens the circuit: one batch is tried every 0.5 to 30 s, and all others wait in the spool. A store
that answers before it is durable is watched for ``settling`` seconds; if its server was restarted in that time,
everything since then is written again.
"""

from __future__ import annotations

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
        self._running_since: float | None = None
        self._clock, self._tend_at = clock, 0.0
        self._spool, self._store, self._dead_letters, self._counters = spool, store, dead_letters, counters
        self.works = True  # whether the last write succeeded
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ship until stopped, and then what is still there."""
        while not self._stopping.wait(GATHER):
            try:
                self._ship_all()
                self._tend()
            except Exception:  # a mistake of ours: the records stay in the spool
                log.exception("shipping failed; trying again")
        self._ship_all()  # what has not settled stays in the spool for the next start

    def stop(self) -> None:
        """Write what is in the spool, if the store takes it at once, and end."""
        self._stopping.set()
        self.join()

    def _ship_all(self) -> None:
        if not self._settle():
            return
        blocks = self._spool.read(self.place)
        while found := list(islice(blocks, BLOCKS)):
            batch = [record for lines, _ in found for record in self._decode(lines)]
            if not self._write(batch, found[-1][1]):
                return
            self._unsettled.append(Written(self._clock(), self.place))
        if not self._store.settling:
            self._settle()

    def _tend(self) -> None:
        if self._clock() < self._tend_at:
            return
        self._tend_at = self._clock() + TEND_EVERY
        try:
            self._store.upkeep(int(time.time() * 1000))
        except StoreDown as why:
            log.error("the store's upkeep failed: %s; trying again in %g s", why, TEND_EVERY)

    def _settle(self) -> bool:
        """Let go of what is surely durable, or go back to it if the server was restarted. False: it can't be asked."""
        try:
            since = self._store.running_since()
        except StoreDown as why:
            self._note_down(why)
            return False
        if since != self._running_since and self._unsettled:
            log.warning("the store was restarted: what it got in its last %g s goes again", self._store.settling)
            self._counters.store_replays.inc()
            self._unsettled.clear()
            self.place = self._settled
        self._running_since = since
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
