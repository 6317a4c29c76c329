"""Sets of sequence numbers, kept as ranges: what a sender holds, what a collector has received."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of integers as sorted, disjoint, closed ranges; three days of reports in order cost one range.

    >>> held = Ranges([(1, 60), (70, 70)]); held.discard(10, 20); list(held)
    [(1, 9), (21, 60), (70, 70)]
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> None:
        """Add every number from first to last, both included (last defaults to first)."""
        last = first if last is None else last
        if last < first:
            return
        low = bisect_right(self._ends, first - 2)  # the first range that touches or follows
        high = bisect_right(self._starts, last + 1)  # past the last range that touches
        if low < high:
            first, last = min(first, self._starts[low]), max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def discard(self, first: int, last: int | None = None) -> None:
        """Remove every number from first to last, both included; absent ones are no error."""
        last = first if last is None else last
        if last < first:
            return
        low = bisect_right(self._ends, first - 1)
        high = bisect_right(self._starts, last)
        if low >= high:
            return
        rest = [(self._starts[low], first - 1), (last + 1, self._ends[high - 1])]
        kept = [(a, b) for a, b in rest if a <= b]
        self._starts[low:high] = [a for a, _ in kept]
        self._ends[low:high] = [b for _, b in kept]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends)))

    def __len__(self) -> int:
        """How many numbers there are, not how many ranges."""
        return sum(b - a + 1 for a, b in zip(self._starts, self._ends))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    @property
    def first(self) -> int | None:
        """The lowest number, or None when empty."""
        return self._starts[0] if self._starts else None

    def numbers(self) -> Iterator[int]:
        """Every number in order."""
        for first, last in self:
            yield from range(first, last + 1)
