"""What stores that take line protocol share: they write lines, and note beside the spool what they were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from schoolpulse_collector.lineprotocol import Backslashes, LineWriter, render
from schoolpulse_collector.received import Low, Row
from schoolpulse_collector.receivedfile import ReceivedFile
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import KEEP, Refusal


class LineStore:
    """The half of ``store.Store`` that is about writing; how long samples stay is the server's own setting."""

    def __init__(self, writer: LineWriter, folder: Path, backslashes: Backslashes) -> None:
        self._writer, self._backslashes = writer, backslashes
        self._received = ReceivedFile(folder / "received.sqlite")

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """See ``store.Store``."""
        lines, refusals = render(records, self._backslashes)
        refusals += self._writer.write(lines)
        self._received.note(records)
        return refusals

    def received(self) -> Iterator[Row]:
        """See ``store.Store``."""
        return self._received.rows()

    def lows(self) -> Iterator[Low]:
        """See ``store.Store``."""
        return self._received.lows()

    def upkeep(self, now: int, spooled: int) -> None:
        """See ``store.Store``."""
        self._received.forget(min(now - KEEP, spooled))

    def close(self) -> None:
        """See ``store.Store``."""
        self._writer.close()
        self._received.close()
