"""Records of several days, questions about them, and what an embedded store holds of them."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from schoolpulse_collector.record import Record
from schoolpulse_collector.series import Row, Series
from schoolpulse_collector.stores.duckdb import CLOSE_AFTER, DuckDB

DAY = 86_400
D0 = 20_780  # a day, counted from 1970
T = D0 * DAY


def evening(day: int) -> int:
    """When the days before ``D0 + day`` are to be closed, UTC milliseconds."""
    return (T + day * DAY) * 1000 + CLOSE_AFTER


def record(seq: int, t: int, m: dict[str, dict[str, float]] | None = None, **other: Any) -> Record:
    groups = {"mem": {"used": float(seq)}} if m is None else m
    known = {"device": f"d{seq % 3}", "school": f"s{seq % 2}", "room": "r", "kind": "lab_pc", **other}
    return Record(epoch=7, seq=seq, t=t * 1000, lag=250, m=groups, **known)


def some(days: int, a_day: int = 24) -> list[Record]:
    """Records of so many days, and two more at the last millisecond of the first one and right after it."""
    found = []
    for seq in range(days * a_day):
        disk = {f"disk,path=/{seq % 2}": {"free": float(seq % 50), "reads": float(seq * 10)}}
        found.append(record(seq + 1, T + seq * DAY // a_day, disk | {"mem": {"used": float(seq)}}))
    edges = ((T + DAY) * 1000 - 1, (T + DAY) * 1000 + 1)
    return found + [structs.replace(record(len(found) + n, T), t=t) for n, t in enumerate(edges, 1)]


SERIES = [
    Series("mem", "used", T - DAY, T + 20 * DAY, aggregate="count"),
    Series("mem", "used", T - DAY, T + 20 * DAY, aggregate="sum", every=3600),
    Series("mem", "used", T + DAY + 7, T + 2 * DAY + 7, aggregate="max", group_by=("device", "school")),
    Series("mem", "used", T, T + 20 * DAY, aggregate="p95", group_by=("device",), every=DAY),
    Series("disk", "free", T, T + 20 * DAY, aggregate="last", group_by=("path",), every=6 * 3600),
    Series("disk", "free", T, T + 20 * DAY, aggregate="sum", across="max", group_by=("school",)),
    Series("disk", "reads", T, T + 20 * DAY, aggregate="rate", group_by=("device", "path"), every=DAY),
    Series("disk", "free", T, T + 20 * DAY, aggregate="min", where=(("path", "=", "/1"),), limit=5, every=3600),
    Series("report", "seq", T, T + 20 * DAY, aggregate="sum", every=DAY, tz="UTC"),
]


def answers(store: DuckDB) -> list[list[Row]]:
    found = [store.query(series).rows for series in SERIES]
    assert all(found)
    return found


def seqs(store: DuckDB) -> list[int]:
    """The seqs of all stored reports, each as often as it is stored."""
    rows = store._ask("report", 0, 2**62, lambda source: (f"select seq::bigint from {source} order by 1", []))
    return [row[0] for row in rows]


def hot(store: DuckDB, measurement: str = "report") -> int:
    return store._db.cursor().execute(f"select count(*) from m.{measurement}").fetchall()[0][0]
