"""Compiles a Series to InfluxQL, as InfluxDB 1.6 to 2.x read it, and reads the answer.

Answers equal DuckDB's (``sql.py``), gaps, edges and cut buckets too, but for these:

* ``p95`` over time is the nearest rank, one of the values: InfluxDB interpolates nothing. Across devices it is exact.
* ``rate`` grouped by ``school``, ``room`` or ``kind``: a counter's step over a move from one to another is lost.
* a tag that no row has is one that every row lacks, not a mistake.

What goes over several devices' values, ``across`` and the sum of their rates, is worked out here: InfluxDB needs two to
ten times as long for a sub-query over many series as it needs to send them. Its rules:
docs.influxdata.com/influxdb/v1/query_language; what they leave open was asked of a 1.6, in ``test_dialects.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from math import fsum
from typing import Any

from schoolpulse_collector.series import LOOK_BACK, PLACE, BadQuery, Frame, Row, Series, ordered

Tags = tuple[str, ...]

OVER = {name: name + '("{}")' for name in ("mean", "min", "max", "sum", "count", "last", "first")}
OVER["p95"] = 'percentile("{}", 95)'
LATEST = 9_223_372_036  # nanoseconds end in 2262
NOBODY = "\n"  # no tag has this value


def to_influxql(series: Series, identity: Collection[str]) -> str:
    """Return a query for ``/query?epoch=s``, of two statements for a rate; ``frame`` does the rest.

    ``identity``: those tags that tell one series from another: device and the probe's own. Any tag value may be asked
    for. Raises BadQuery.
    """
    if series.stop > LATEST:
        raise BadQuery("InfluxDB's calendar ends in 2262: use an earlier stop")
    keys = tuple(dict.fromkeys((*identity, *series.group_by)))
    by = _names(keys if series.across or series.aggregate == "rate" else series.group_by)
    # Not tz(): that moves edges in a summer.
    ends = f"GROUP BY time({series.window}s, {series.first % series.window}s){by} fill(none)"
    if series.aggregate != "rate":
        span = f"WHERE time >= {series.first}s AND time < {series.stop}s{_tests(series)}"
        return f'SELECT {OVER[series.aggregate].format(series.field)} AS "v" FROM "{series.measurement}" {span} {ends}'
    # Both ranges are the same, look-back too: InfluxDB puts that of a query on the one inside it.
    span = f"WHERE time >= {series.first - LOOK_BACK}s AND time < {series.stop}s"
    source = f'FROM "{series.measurement}" {span}{_tests(series)} GROUP BY {_names(keys)[2:]}'
    on = f'SELECT non_negative_difference("{series.field}") AS "d" {source}'
    # That leaves out where a counter began anew. The step there is the value; it is told by the mean of it and the one
    # before, and their difference. Both in one FROM would take twenty times as long.
    anew = f'SELECT difference("{series.field}") AS "d", moving_average("{series.field}", 2) AS "m" {source}'
    return (
        f'SELECT sum("d") / {series.window} AS "v" FROM ({on}) {span} {ends}; '
        f'SELECT (sum("m") + sum("d") / 2) / {series.window} AS "v" FROM ({anew}) {span} AND "d" < 0 {ends}'
    )


def frame(series: Series, answer: dict[str, Any]) -> Frame:
    """Return what InfluxDB answered, as DuckDB orders it. Raises BadQuery for an error that it answered."""
    alone: dict[tuple[int, Tags, Tags], float] = defaultdict(float)  # statements of one question add up
    for result in [answer] if "error" in answer else answer["results"]:
        if "error" in result or result.get("partial"):
            raise BadQuery(f"InfluxDB: {result.get('error', 'the answer is not whole')}")
        for line in result.get("series", ()):
            tags = line.get("tags", {})
            group, key = tuple(tags.get(tag, "") for tag in series.group_by), tuple(tags[tag] for tag in sorted(tags))
            for t, value in line["values"]:
                if value is not None and t >= series.first:  # buckets before it are those looked back to
                    alone[(t, group, key)] += value
    groups: dict[tuple[int, Tags], list[float]] = defaultdict(list)
    for (t, group, _), value in alone.items():
        groups[(t, group)].append(value)
    across = ACROSS[series.across] if series.across else fsum  # of a group's counters, or of one value
    rows = [Row(t, group, float(across(values))) for (t, group), values in groups.items()]
    return ordered(series, rows)


def _mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def _p95(values: list[float]) -> float:
    """Between two values it interpolates, as DuckDB does."""
    values.sort()
    at = 0.95 * (len(values) - 1)
    below, above = values[int(at)], values[min(int(at) + 1, len(values) - 1)]
    return below + (at - int(at)) * (above - below)


ACROSS: dict[str, Callable[[list[float]], float]] = {
    "mean": _mean,
    "min": min,
    "max": max,
    "sum": fsum,
    "count": len,
    "p95": _p95,
}


def _tests(series: Series) -> str:
    tests = ""
    for tag, operator, value in series.where:
        values = value.split("|") if operator == "in" else [value]
        if operator == "prefix" and value:
            # All but letters and digits as a number: in /.../ no slash may stand, nor a backslash before the last one.
            literal = "".join(letter if letter.isalnum() else f"\\x{{{ord(letter):x}}}" for letter in value)
            tests += f' AND "{tag}" =~ /^{literal}/'
        elif operator == "prefix":
            tests += "" if tag in PLACE else f" AND \"{tag}\" != ''"
        else:
            # An empty tag and one that isn't there are the same to InfluxDB, and only those of PLACE are ever empty.
            values = [each if each or tag in PLACE else NOBODY for each in values]
            sign = "!=" if operator == "!=" else "="
            tests += " AND (" + " OR ".join(f'"{tag}" {sign} {_text(each)}' for each in values) + ")"
    return tests


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _names(tags: Tags) -> str:
    return "".join(f', "{tag}"' for tag in tags)
