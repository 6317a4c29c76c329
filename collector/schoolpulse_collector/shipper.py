"""From the spool to the store: waits for records, writes them, repeats until the store has them, then lets go."""

from __future__ import annotations

import logging
import threading
from itertools import islice

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


class Shipper(threading.Thread):
    """One thread that owns the spool's reading end and the store's writing end."""

    def __init__(self, spool: Spool, store: Store, dead_letters: DeadLetters, counters: Counters) -> None:
        super().__init__(name="shipper", daemon=True)
        self.place = spool.start()  # everything before it is durable in the store
        self._spool, self._store, self._dead_letters, self._counters = spool, store, dead_letters, counters
        self.works = True  # whether the last write succeeded
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ship until stopped, and then what is still there."""
        while not self._stopping.wait(GATHER):
            try:
                self._ship_all()
            except Exception:  # a mistake of ours: the records stay in the spool
                log.exception("shipping failed; trying again")
        self._ship_all()

    def stop(self) -> None:
        """Write what is in the spool, if the store takes it at once, and end."""
        self._stopping.set()
        self.join()

    def _ship_all(self) -> None:
        blocks = self._spool.read(self.place)
        while found := list(islice(blocks, BLOCKS)):
            batch = [record for lines, _ in found for record in self._decode(lines)]
            if not self._write(batch, found[-1][1]):
                return
        self._spool.release(self.place)

    def _write(self, batch: list[Record], after: Place) -> bool:
        wait = 0.5
        while True:
            try:
                refusals = self._store.write(batch)
            except StoreDown as why:
                self.works = False
                self._counters.store_errors.inc()
                log.error("the store takes nothing: %s; trying again in %g s, %d reports wait", why, wait, len(batch))
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
