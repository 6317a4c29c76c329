"""What a store is. One file a store in ``stores/``, named by its URL's scheme; there is no list to edit."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from schoolpulse_collector.received import Low
from schoolpulse_collector.received import Row as ReceivedRow
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import Frame, Series

KEEP = 35 * 86_400_000  # milliseconds that a store remembers which reports it has; older reports are refused


class StoreDown(Exception):
    """The store can't take or answer this now: the same call later may succeed."""


class StoreRefused(Exception):
    """The store will never take this; trying again is no use."""


class Refusal(NamedTuple):
    """A group of a record that the store will never take; the record's other groups are stored."""

    record: Record
    group: str
    reason: str


class Last(NamedTuple):
    """The last stored values of one group of one device."""

    device: str
    group: str
    t: int  # UTC milliseconds
    fields: dict[str, float]


class Store(Protocol):
    """Where samples stay. One thread calls ``write``, ``run_id`` and ``upkeep``, any thread the others."""

    settling: float
    """Seconds from the return of ``write`` until it is surely durable, if ``run_id`` stays the same meanwhile."""

    def run_id(self) -> str:
        """Names the server's present run; with another name, what has not settled may be gone. Raises StoreDown."""

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        """Store records. Writing a record twice leaves it once.

        Each record also becomes measurement ``report`` with fields ``epoch``, ``seq``, ``lag_ms``, so that any store
        can be compared with what was sent; one without groups is only noted as received. All or nothing, but for the
        groups returned. Raises StoreDown.
        """

    def query(self, series: Series) -> Frame:
        """Answer a question; empty if nothing of that name was stored. Raises BadQuery and StoreDown."""

    def latest(self) -> Iterator[Last]:
        """The last values of every group of every device, to fill the table of last values after a start."""

    def received(self) -> Iterator[ReceivedRow]:
        """Which reports are stored, as ranges of seqs, to know them again after a start."""

    def lows(self) -> Iterator[Low]:
        """The lowest seq that each sender held when it sent what is stored, to know what is lost."""

    def upkeep(self, now: int, spooled: int) -> None:
        """What must be done now and then. Raises StoreDown.

        ``now``: UTC milliseconds. ``spooled``: when the oldest record came that the spool still holds and a restart
        would bring again; what came since then must not be forgotten, however long ago that is.
        """

    def close(self) -> None:
        """Let go of everything; nothing that was written is lost."""


def open_store(url: str, folder: Path) -> Store:
    """Open the store that a URL names, as ``duckdb:///path/to/file`` or ``victoriametrics://host:8428``.

    ``folder``: where it may keep what it needs beside the samples. Raises StoreDown, ValueError for a bad URL.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        module = importlib.import_module(f"schoolpulse_collector.stores.{scheme}")
    except ModuleNotFoundError as why:
        raise ValueError(f"store {url!r}: there is no store of the kind {scheme!r}") from why
    store: Store = module.open_url(url, folder)
    return store
