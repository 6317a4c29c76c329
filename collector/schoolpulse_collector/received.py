"""Which reports have arrived, as ranges of seqs per (device, epoch): what makes every report count once.

It also knows what will never come: a sender says with each message the lowest seq it still holds, ``low``. Below it and
not received is lost; above it and not received is only late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schoolpulse_agent.ranges import Ranges

Row = tuple[str, int, int, int]  # device, epoch, first seq, last seq
Low = tuple[str, int, int, int]  # device, epoch, lowest seq that its sender still held, when last heard (UTC ms)
Key = tuple[str, int]  # device, epoch


class Received:
    """A set of (device, epoch, seq)."""

    def __init__(self, rows: Iterable[Row] = (), lows: Iterable[Low] = ()) -> None:
        self._ranges: dict[Key, Ranges] = {}
        self._lows: dict[Key, int] = {}
        self._heard: dict[Key, int] = {}
        self._lost: dict[Key, int] = {}  # those that lost something
        for device, epoch, first, last in rows:
            self._ranges.setdefault((device, epoch), Ranges()).add(first, last)
        for device, epoch, low, heard in lows:
            self.held_from(device, epoch, low, heard)

    def __contains__(self, key: tuple[str, int, int]) -> bool:
        device, epoch, seq = key
        ranges = self._ranges.get((device, epoch))
        return ranges is not None and seq in ranges

    def add(self, device: str, epoch: int, seq: int) -> None:
        """Note that this report has arrived."""
        self._ranges.setdefault((device, epoch), Ranges()).add(seq)

    def held_from(self, device: str, epoch: int, low: int, heard: int) -> None:
        """Note that the sender held nothing below ``low`` any more at ``heard``, UTC ms; call it after ``add``."""
        key = (device, epoch)
        self._heard[key] = max(heard, self._heard.get(key, 0))
        low = self._lows[key] = max(low, self._lows.get(key, 1))
        arrived = sum(min(last, low - 1) - first + 1 for first, last in self.of(device, epoch) if first < low)
        if lost := low - 1 - arrived:
            self._lost[key] = lost
        else:
            self._lost.pop(key, None)

    def part(self, keys: Iterable[Key]) -> Received:
        """A copy of what is known of these (device, epoch)."""
        wanted = [key for key in keys if key in self._ranges]
        return Received(self.rows(wanted), self.lows(wanted))

    def take(self, part: Received) -> None:
        """Put the changed copy in the place of what it was made of."""
        self._ranges.update(part._ranges)
        self._lows.update(part._lows)
        self._heard.update(part._heard)

    def forget(self, before: int) -> list[Key]:
        """Let go of the epochs that were heard last before ``before``, UTC ms; return which.

        Each device's newest stays: a machine that wakes after months goes on in it, and must not seem to have lost all.
        """
        newest: dict[str, int] = {}
        for (device, _), heard in list(self._heard.items()):
            newest[device] = max(heard, newest.get(device, 0))
        old = [key for key, heard in list(self._heard.items()) if heard < before and heard < newest[key[0]]]
        for key in old:
            for known in (self._ranges, self._lows, self._heard, self._lost):
                known.pop(key, None)
        return old

    def losses(self) -> dict[str, int]:
        """How many reports are lost, of each device that lost any."""
        found: dict[str, int] = {}
        for (device, _), lost in list(self._lost.items()):
            found[device] = found.get(device, 0) + lost
        return found

    def of(self, device: str, epoch: int) -> Ranges:
        """All seqs of one epoch that have arrived."""
        return self._ranges.get((device, epoch)) or Ranges()

    def rows(self, keys: Iterable[Key]) -> Iterator[Row]:
        """The ranges of these (device, epoch), to be written down."""
        for device, epoch in keys:
            for first, last in self._ranges.get((device, epoch), ()):
                yield device, epoch, first, last

    def lows(self, keys: Iterable[Key]) -> Iterator[Low]:
        """The lows of these (device, epoch), to be written down."""
        for device, epoch in keys:
            yield device, epoch, self._lows.get((device, epoch), 1), self._heard.get((device, epoch), 0)
