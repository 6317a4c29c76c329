"""Which reports a sender publishes next: live ones first, the backlog paced, few at a time until receipts come."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from schoolpulse_agent import wire
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.settings import Reports

WINDOW = 3  # messages published and not yet receipted
AGAIN_MAX = 1800.0  # seconds: an unreceipted message goes again after 2 intervals, doubling up to this
UNREADABLE = 60.0  # seconds until a backlog that can't be read is tried again
SIZE = wire.MAX_BYTES - 1024  # of the records in one message, before zipping


@dataclass
class Sent:
    """One message of reports that waits for its receipt."""

    epoch: int
    seqs: Ranges
    wait: float
    again: float  # when to publish it again


class Window:
    """What of one outbox is on its way and what comes next. Times are monotonic seconds."""

    def __init__(self, outbox: Outbox, reports: Reports, clock: Callable[[], float]) -> None:
        self.interval, self.replay_spread = reports.interval, reports.replay_spread
        self._outbox, self._clock = outbox, clock
        self._sent: list[Sent] = []
        self._unreadable: dict[int, float] = {}  # epoch -> until when its backlog is left alone
        self._replay_at = 0.0
        self._replay_rate = reports.replay_rate  # messages a second; 0: the collector wants none for now
        self._live_from = 1  # reports of this epoch from here on are live, all others backlog

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was published still waits for its receipt."""
        return not self._sent

    def begin(self) -> None:
        """A new connection: whatever has no receipt goes again, the newest report as live."""
        self._sent.clear()
        held = self._outbox.held().get(self._outbox.epoch)
        self._live_from = list(held)[-1][1] if held else self._outbox.low(self._outbox.epoch)
        self._replay_at = self._clock() + random.random() * self.replay_spread

    def due(self) -> list[float]:
        """When something of it is to be published."""
        times = [sent.again for sent in self._sent]
        if self._replay_rate and len(self._sent) < WINDOW and self._unsent()[1]:
            times.append(self._replay_at)
        return times

    def receipted(self) -> None:
        """The outbox has let go of what a receipt named."""
        self._sent = [sent for sent in self._sent if self._still_held(sent)]

    def pace(self, replay: float | None) -> None:
        """Take over the collector's word on how fast to send the backlog."""
        if replay is None:
            return
        if replay and not self._replay_rate:  # after a pause, not all at once
            self._replay_at = self._clock() + random.random() * self.replay_spread
        self._replay_rate = replay

    def messages(self) -> Iterator[bytes]:
        """The messages that may go now, each with the lowest wanted reports."""
        now = self._clock()
        for sent in self._sent:
            if now >= sent.again:
                sent.wait = min(sent.wait * 2, AGAIN_MAX)
                sent.again = now + sent.wait
                body = self._message(sent.epoch, sent.seqs)[1]
                if body:
                    yield body
        while len(self._sent) < WINDOW:
            found = self._next(now)
            if found is None:
                return
            epoch, wanted = found
            seqs, body = self._message(epoch, wanted)
            if not body:
                self._unreadable[epoch] = now + UNREADABLE
                continue
            wait = 2 * self.interval
            self._sent.append(Sent(epoch, seqs, wait, now + wait))
            yield body

    def _next(self, now: float) -> tuple[int, Ranges] | None:
        """What to publish next: (epoch, seqs to choose from), live reports before backlog, None if nothing may go."""
        live, backlog = self._unsent()
        if live:
            return self._outbox.epoch, live
        if not backlog or not self._replay_rate or now < self._replay_at:
            return None
        self._replay_at = now + 1 / self._replay_rate
        return next(iter(backlog.items()))

    def _unsent(self) -> tuple[Ranges, wire.Epochs]:
        """What is held and not on its way: live reports, and the backlog by epoch, oldest first."""
        held, own = self._outbox.held(), self._outbox.epoch
        for sent in self._sent:
            for first, last in sent.seqs:
                held.get(sent.epoch, Ranges()).discard(first, last)
        live = Ranges(held.get(own, ()))
        live.discard(1, self._live_from - 1)
        if own in held:
            held[own].discard(self._live_from, wire.TOP)
        now = self._clock()
        backlog = {epoch: seqs for epoch, seqs in held.items() if seqs and self._unreadable.get(epoch, 0.0) <= now}
        return (live if self._unreadable.get(own, 0.0) <= now else Ranges()), backlog

    def _still_held(self, sent: Sent) -> bool:
        held = self._outbox.held().get(sent.epoch, Ranges())
        return any(seq in held for seq in sent.seqs.numbers())

    def _message(self, epoch: int, wanted: Ranges) -> tuple[Ranges, bytes]:
        """One message with the lowest wanted reports and which ones they are; empty if none can be read."""
        taken, size = Ranges(), 0
        bodies: list[bytes] = []
        for seq, record in self._outbox.read(epoch, wanted, wire.MAX_REPORTS).items():
            size += len(record) + 1
            if bodies and size > SIZE:
                break
            taken.add(seq)
            bodies.append(record)
        return taken, wire.encode(epoch, self._outbox.low(epoch), bodies) if bodies else b""
