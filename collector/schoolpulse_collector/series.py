"""The question one can ask of any store: one field of one measurement, over time, by tags. Knows no store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

AGGREGATES = ("mean", "min", "max", "sum", "count", "last", "first", "p95", "rate")
ACROSS = ("mean", "min", "max", "sum", "count", "p95")
OPERATORS = ("=", "!=", "in", "prefix")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PLACE = ("school", "room", "kind")  # tags of the moment: always there, and they don't tell which series this is
LOOK_BACK = 300  # seconds before the first bucket in which a counter's previous value is looked for
MAX_BUCKETS = 50_000
MAX_ROWS = 1_000_000
YEAR_9999 = 253_402_214_400  # where calendars end, in every zone
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII).fullmatch


class BadQuery(ValueError):
    """This question can't be answered; the message says what to change."""


@dataclass(frozen=True)
class Series:
    """Values of ``measurement.field`` in [start, stop), whole unix seconds.

    In each bucket of ``every`` seconds the values are aggregated over time: ``mean`` and so on pool all values of a
    group; ``rate`` is a counter's increase per second, where a counter that goes back counts from 0. With ``across``
    each device (and disk, interface ...) is aggregated alone first, then these results over the group. Buckets are
    labelled by their start, aligned to ``tz``, and absent when empty. ``every`` None: one value for the range.
    """

    measurement: str
    field: str
    start: int
    stop: int
    where: tuple[tuple[str, str, str], ...] = ()  # (tag, operator, value); "in" takes values joined by "|"
    group_by: tuple[str, ...] = ()
    every: int | None = None
    aggregate: str = "mean"
    across: str | None = None
    limit: int | None = None  # the N highest values of all
    tz: str = "Asia/Ho_Chi_Minh"

    def __post_init__(self) -> None:
        """Raise BadQuery for what no store could answer."""
        for name in (self.measurement, self.field, *self.group_by, *(tag for tag, _, _ in self.where)):
            if not _NAME(name):
                raise BadQuery(f"{name!r} is not a name: small letters, digits and _ are")
        if self.aggregate not in AGGREGATES:
            raise BadQuery(f"aggregate {self.aggregate!r}: use one of {', '.join(AGGREGATES)}")
        if self.across is not None and self.across not in ACROSS:
            raise BadQuery(f"across {self.across!r}: use one of {', '.join(ACROSS)}")
        for tag, operator, value in self.where:
            if operator not in OPERATORS:
                raise BadQuery(f"operator {operator!r}: use one of {', '.join(OPERATORS)}")
            if not value.isprintable():  # no tag has such a value
                raise BadQuery(f"where {tag!r}: the value has a character that can't be printed")
        if not 0 <= self.start < self.stop <= YEAR_9999:
            raise BadQuery("start must lie before stop, both in unix seconds")
        if self.every is not None and not (self.every >= 1 and (self.stop - self.start) / self.every <= MAX_BUCKETS):
            raise BadQuery(f"every must be at least 1 second and give at most {MAX_BUCKETS} buckets")
        if self.limit is not None and not 1 <= self.limit <= MAX_ROWS:
            raise BadQuery(f"limit must be 1 to {MAX_ROWS}")
        try:
            ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError) as why:  # OSError: a folder's name, a name too long
            raise BadQuery(f"time zone {self.tz!r} is not known") from why

    @property
    def window(self) -> int:
        """Seconds a bucket lasts."""
        return self.every or self.stop - self.start

    @property
    def offset(self) -> int:
        """Seconds the zone is ahead of UTC at ``start``, as far as it moves bucket edges."""
        from datetime import UTC, datetime

        ahead = datetime.fromtimestamp(self.start, UTC).astimezone(ZoneInfo(self.tz)).utcoffset()
        return int(ahead.total_seconds()) % self.window if ahead and self.every else 0

    @property
    def first(self) -> int:
        """``start`` aligned down to a bucket's edge: no store may answer with a cut first bucket."""
        if not self.every:
            return self.start
        return (self.start + self.offset) // self.window * self.window - self.offset


class Row(NamedTuple):
    """One value of an answer."""

    t: int  # unix seconds, start of the bucket
    tags: tuple[str, ...]  # in the order of group_by
    value: float


class Frame(NamedTuple):
    """An answer: rows in order of tags and time, or of value when limited."""

    group_by: tuple[str, ...]
    rows: list[Row]


def ordered(series: Series, rows: Iterable[Row]) -> Frame:
    """The answer that these rows are: in order, and cut to the limit."""
    if series.limit:
        return Frame(series.group_by, sorted(rows, key=lambda row: (-row.value, row.t, row.tags))[: series.limit])
    return Frame(series.group_by, sorted(rows, key=lambda row: (row.tags, row.t)))


def seconds(text: str) -> int:
    """Read a span such as ``30s``, ``5m``, ``1h`` or ``1d``. Raises BadQuery."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise BadQuery(f"{text!r} is not a span: write 30s, 5m, 1h or 1d")
    return int(found[1]) * UNITS[found[2]]
