"""From the broker to durable: decode, judge, spool, then acknowledge and receipt, then tell presence and the others.

The order is the promise: a sender deletes a report only when it is named in a receipt, and nothing is named before it
is on disk here, in the spool or among the dead letters.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from schoolpulse_agent import wire
from schoolpulse_agent.parts import Inventory, decode_inventory
from schoolpulse_agent.ranges import Ranges
from schoolpulse_collector import record as records
from schoolpulse_collector.backpressure import Backpressure
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters, Letter
from schoolpulse_collector.delivery import Delivery, is_report
from schoolpulse_collector.duties import Duties
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.received import Received
from schoolpulse_collector.record import Record
from schoolpulse_collector.roster import Roster, Sender
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.subscriber import Message, Subscriber

log = logging.getLogger(__name__)

BATCH = 500  # messages judged and synced together ...
GATHER = 0.2  # ... or what comes in so many seconds
OLDEST = 35 * 86_400_000  # milliseconds: older reports are refused ...
AHEAD = 5 * 60_000  # ... and so are those from the future
LOG_EVERY = 60.0  # seconds between two log lines about one device
HELLO_RANGES = 200  # at most so many, the newest, answer a hello; a sender in order needs one
FORGET_EVERY = 3600.0  # seconds; an epoch not heard for so long as OLDEST: a repeat of it would be refused anyway
RETRY = 1.0  # seconds until a full disk is tried again
KINDS = ("report", "presence", "inventory")


@dataclass
class Outcome:
    """What one batch of messages came to."""

    accepted: dict[tuple[str, int, int], Record] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    receipts: dict[str, wire.Epochs] = field(default_factory=dict)
    said: list[tuple[str, wire.Presence]] = field(default_factory=list)
    lows: dict[tuple[str, int], int] = field(default_factory=dict)
    inventories: list[tuple[str, Inventory]] = field(default_factory=list)

    def owe(self, device: str, epoch: int, seq: int) -> None:
        """Name this report in the device's receipt."""
        self.receipts.setdefault(device, {}).setdefault(epoch, Ranges()).add(seq)


class Intake(threading.Thread):
    """One thread that owns the spool's writing end and the set of what has been received."""

    def __init__(
        self,
        subscriber: Subscriber,
        roster: Roster,
        spool: Spool,
        received: Received,
        dead_letters: DeadLetters,
        presence: Presence,
        counters: Counters,
        delivery: Delivery,
        backpressure: Backpressure,
        fleet: Fleet,
        duties: Duties,
    ) -> None:
        super().__init__(name="intake", daemon=True)
        self.listeners: list[Callable[[Record], None]] = []  # called with each accepted record, once, in order
        self.heard: list[Callable[[str, wire.Presence], None]] = []  # called with each presence message
        self._subscriber, self._roster, self._spool, self._received = subscriber, roster, spool, received
        self._dead_letters, self._presence, self._counters = dead_letters, presence, counters
        self._delivery, self._backpressure, self._fleet, self._duties = delivery, backpressure, fleet, duties
        self.works = True  # whether the last batch could be kept
        self._stopping = threading.Event()
        self._logged: dict[str, float] = defaultdict(float)

    def run(self) -> None:
        """Take in batches until stopped."""
        forgotten = time.monotonic()
        while not self._stopping.is_set():
            messages = self._gather()
            try:
                outcome = self._judge(messages)
                if (messages or outcome.accepted) and self._keep(outcome):
                    self._answer(messages, outcome)
                if time.monotonic() - forgotten > FORGET_EVERY:
                    forgotten = time.monotonic()
                    self._received.forget(int(time.time() * 1000) - OLDEST)
            except Exception:  # a mistake of ours: what has no receipt comes again, and the next batch may do
                log.exception("batch of %d messages failed", len(messages))
                for message in messages:  # or they would fill the broker's window; senders go by receipts
                    self._subscriber.acknowledge(message)

    def stop(self) -> None:
        """End after the batch in hand; what was not acknowledged comes again."""
        self._stopping.set()
        self.join()

    def _gather(self) -> list[Message]:
        inbox, end = self._subscriber.inbox, time.monotonic() + GATHER
        messages: list[Message] = []
        while len(messages) < BATCH and (left := end - time.monotonic()) > 0:
            try:
                messages.append(inbox.get(timeout=left))
            except queue.Empty:
                break
        return messages

    def _judge(self, messages: list[Message]) -> Outcome:
        """Decide what becomes of each report; changes nothing yet."""
        outcome, now = Outcome(), int(time.time() * 1000)
        outcome.accepted = {(own.device, own.epoch, own.seq): own for own in self._delivery.records()}
        for message in messages:
            device = ""
            try:
                _, device, kind = wire.parse_up(message.topic)
                self._counters.messages.labels(kind if kind in KINDS else "other").inc()
                sender = self._roster.get(device)
                if sender is None:
                    raise wire.BadReport("unknown_device", device)
                if kind == "report":
                    self._judge_reports(sender, message, now, outcome)
                elif kind == "presence":
                    outcome.said.append((device, wire.decode_presence(message.payload)))
                elif kind == "inventory":
                    outcome.inventories.append((device, decode_inventory(message.payload)))
                else:
                    raise wire.BadReport("topic", message.topic)
            except wire.BadReport as why:
                self._refuse(outcome, device, Letter(message.topic, why.reason, message.payload))
        return outcome

    def _judge_reports(self, sender: Sender, message: Message, now: int, outcome: Outcome) -> None:
        batch = wire.decode(message.payload, orjson.loads)
        outcome.lows[sender.id, batch.epoch] = batch.low
        place = (sender.school, sender.room, sender.kind)
        verdicts: list[tuple[int | None, str, Any]] = [*batch.refused]
        verdicts += [(report.seq, _fault(report, now), report) for report in batch.reports]
        for seq, fault, report in verdicts:
            key = (sender.id, batch.epoch, seq or 0)
            if seq:
                outcome.owe(*key)
            if key in outcome.accepted or key in self._received:
                self._counters.repeated.inc()
            elif not fault:
                outcome.accepted[key] = Record(*key, report.t, now - report.t, *place, report.m, batch.low)
            else:
                self._refuse(outcome, sender.id, Letter(message.topic, fault, report))
                if seq:  # from now on it counts as received: not as lost, and not again
                    outcome.accepted[key] = Record(*key, now, 0, *place, {}, batch.low)

    def _refuse(self, outcome: Outcome, device: str, letter: Letter) -> None:
        self._counters.refused.labels(letter.reason).inc()
        outcome.letters.append(letter)
        now = time.monotonic()
        if now - self._logged[device] > LOG_EVERY or not self._logged[device]:
            if len(self._logged) > 10_000:
                self._logged.clear()
            self._logged[device] = now
            log.warning("refused from %s: %s", letter.topic[:120], letter.reason)

    def _keep(self, outcome: Outcome) -> bool:
        """Make the outcome durable, waiting as long as the disk takes nothing. False if stopped before that."""
        lines = [records.encode(record) for record in outcome.accepted.values()]
        spooled = not lines
        while True:
            try:
                if not spooled:
                    self._spool.append(lines)
                    spooled = True
                self._dead_letters.append(outcome.letters)
            except OSError as why:
                self.works = False
                self._counters.spool_errors.inc()
                log.error("can't keep reports: %s; nothing is acknowledged until it works", why)
                if self._stopping.wait(RETRY):
                    return False
            else:
                self.works = True
                return True

    def _answer(self, messages: list[Message], outcome: Outcome) -> None:
        now = int(time.time() * 1000)
        for key in outcome.accepted:
            self._received.add(*key)
        for (device, epoch), low in outcome.lows.items():
            self._received.held_from(device, epoch, low, now)
        for message in messages:  # an inventory too, though it is nowhere yet: it comes again until it has its receipt
            self._subscriber.acknowledge(message)
        for device, inventory in outcome.inventories:
            self._fleet.took(device, inventory)
        self._send_receipts(outcome, now)
        for device, said in outcome.said:
            self._presence.said(device, said)
            for hear in self.heard:
                hear(device, said)
        for record in outcome.accepted.values():
            if not is_report(record):
                continue
            self._counters.accepted.inc()
            self._delivery.accepted(record)
            self._counters.lag.observe(max(0, record.lag) / 1000)
            self._presence.reported(record.device, record.t)
            for listener in self.listeners:
                listener(record)

    def _send_receipts(self, outcome: Outcome, now: int) -> None:
        inventories: dict[str, str] = {}
        for device, said in outcome.said:  # a hello is answered with all that is here of its epoch
            if said.state == "online":
                known = outcome.receipts.setdefault(device, {}).setdefault(said.epoch, Ranges())
                for first, last in list(self._received.of(device, said.epoch))[-HELLO_RANGES:]:
                    known.add(first, last)
                inventories[device] = said.inventory if self._fleet.knows(device, said.inventory) else ""
        replay = self._backpressure.replay_rate()
        for device, epochs in outcome.receipts.items():
            receipt = wire.Receipt(now, epochs, replay, inventories.get(device, ""), self._duties.of(device))
            self._subscriber.send(wire.down_topic(device, "receipt"), wire.encode_receipt(receipt))
            self._counters.receipts.inc()


def _fault(report: wire.Report, now: int) -> str:
    """Why this collector can't take a report that is well formed; empty if it can."""
    if not now - OLDEST <= report.t <= now + AHEAD:
        return "time"
    return "unknown_child" if report.child is not None else ""
