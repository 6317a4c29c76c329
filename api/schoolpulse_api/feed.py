"""Hands what happens in the collector's threads to the event loop's listeners: the live stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from schoolpulse_collector.presence import State
from schoolpulse_collector.record import Record

ROOM = 1000  # events a slow listener may be behind; then it misses the oldest


class Event(NamedTuple):
    """One thing that happened, ready for JSON."""

    kind: str  # report or presence
    device: str
    data: dict[str, object]


class Feed:
    """Events to everyone who listens."""

    def __init__(self) -> None:
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue[Event]]] = set()

    def on_record(self, record: Record) -> None:
        """For ``Intake.listeners``."""
        if self._listeners:
            self._send(Event("report", record.device, {"t": record.t, "seq": record.seq, "m": record.m}))

    def on_presence(self, device: str, state: State) -> None:
        """For ``Presence.listeners``."""
        self._send(Event("presence", device, {"state": state.state, "since": state.since, "seen": state.seen}))

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event]]:
        """Events from now on; call it in the event loop that reads the queue."""
        listener = (asyncio.get_running_loop(), asyncio.Queue[Event](ROOM))
        self._listeners.add(listener)
        try:
            yield listener[1]
        finally:
            self._listeners.discard(listener)

    def _send(self, event: Event) -> None:
        for loop, queue in list(self._listeners):
            with contextlib.suppress(RuntimeError):  # that loop has just ended
                loop.call_soon_threadsafe(_put, queue, event)


def _put(queue: asyncio.Queue[Event], event: Event) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
