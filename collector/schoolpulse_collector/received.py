"""Which reports have arrived, as ranges of seqs per (device, epoch): what makes every report count once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schoolpulse_agent.ranges import Ranges

Row = tuple[str, int, int, int]  # device, epoch, first seq, last seq


class Received:
    """A set of (device, epoch, seq)."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._ranges: dict[tuple[str, int], Ranges] = {}
        for device, epoch, first, last in rows:
            self._ranges.setdefault((device, epoch), Ranges()).add(first, last)

    def __contains__(self, key: tuple[str, int, int]) -> bool:
        device, epoch, seq = key
        ranges = self._ranges.get((device, epoch))
        return ranges is not None and seq in ranges

    def add(self, device: str, epoch: int, seq: int) -> None:
        """Note that this report has arrived."""
        self._ranges.setdefault((device, epoch), Ranges()).add(seq)

    def of(self, device: str, epoch: int) -> Ranges:
        """All seqs of one epoch that have arrived."""
        return self._ranges.get((device, epoch)) or Ranges()

    def rows(self, keys: Iterable[tuple[str, int]]) -> Iterator[Row]:
        """The ranges of these (device, epoch), to be written down."""
        for device, epoch in keys:
            for first, last in self._ranges.get((device, epoch), ()):
                yield device, epoch, first, last
