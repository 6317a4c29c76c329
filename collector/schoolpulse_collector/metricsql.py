"""Compiles a Series to VictoriaMetrics' MetricsQL and reads its answer.

Answers equal DuckDB's (``sql.py``), gaps, edges and cut buckets too, but for these:

* pooled ``p95`` of several series together can't be asked: ``frame`` refuses an answer with two series in one group.
* ``rate``: inside a bucket VictoriaMetrics takes a counter that goes back by less than an eighth as standing still.
* ``rate`` and ``p95`` see a device that moved (``PLACE``) as two devices: the counter's step over the move is lost.
* a tag that no row has is one that every row lacks, not a mistake.
* ``io_reads`` of ``disk`` and ``reads`` of ``disk_io`` have one name there.
* a value keeps 12 to 17 digits; one that is 18 digits smaller than another of its series may become 0 at some merge.

Its rules: docs.victoriametrics.com/MetricsQL.html; what they leave open was asked of a 1.79, in ``test_dialects.py``.
"""

from __future__ import annotations

import json
import re
from math import isnan
from typing import Any

from schoolpulse_collector.series import LOOK_BACK, PLACE, BadQuery, Frame, Row, Series, ordered

ACROSS = {"mean": "avg({})", "p95": "quantile(0.95, {})"} | {
    name: name + "({})" for name in ("min", "max", "sum", "count")
}
MAX_POINTS = 30_000  # -search.maxPointsPerTimeseries
MAX_LENGTH = 16_384  # -search.maxQueryLen, bytes
EARLIEST, LATEST = 31_536_000, 9_223_372_036  # 1971 to 2262: a window that leaves its calendar is empty there
# Seconds by which all is asked too early, to be put right by ``offset``: with a step below a minute VictoriaMetrics
# gives a bucket that isn't over the value of the one before. Buckets that last so short span at most 21 days.
SHIFT = 30 * 86_400
OURS = "_part"  # no measured tag begins with _
NOBODY = "\n"  # no tag has this value


def to_metricsql(series: Series) -> tuple[str, dict[str, str | int]]:
    """Return a query and its parameters, for ``/api/v1/query`` or, with ``every``, ``/api/v1/query_range``.

    For metrics named ``measurement_field``, as VictoriaMetrics names them in line protocol, with times in
    milliseconds. Any tag value may be asked for. ``frame`` does the rest: ``limit`` and the times. Raises BadQuery.
    """
    first, window = series.first, series.window
    last = (series.stop - 1 - first) // window * window + first  # the start of the last bucket
    if first < EARLIEST or series.stop > LATEST:
        raise BadQuery("VictoriaMetrics has no such times: use a start after 1971 and a stop before 2262")
    if (last - first) // window >= MAX_POINTS:
        raise BadQuery(f"VictoriaMetrics gives at most {MAX_POINTS} buckets: use a longer every or a shorter range")
    expression = _value(series, window)
    if series.stop < last + window:  # the last bucket is cut: another window, as far as that bucket
        cut = _value(series, series.stop - last)
        at = f"{last - SHIFT}"
        expression = _together(f"({expression}) if on () (time() < {at})", f"({cut}) if on () (time() == {at})")
    expression = f"WITH (m = {_selector(series)}) {expression}"
    if len(expression.encode()) > MAX_LENGTH:
        raise BadQuery(f"VictoriaMetrics reads at most {MAX_LENGTH} bytes of a question: name fewer or shorter values")
    if not series.every:
        return expression, {"time": first - SHIFT, "nocache": 1}
    return expression, {"start": first - SHIFT, "end": last - SHIFT, "step": f"{window}s", "nocache": 1}


def frame(series: Series, answer: dict[str, Any]) -> Frame:
    """Return what VictoriaMetrics answered, as DuckDB orders it.

    Raises BadQuery for an error that it answered, and for a p95 over more than one series.
    """
    if answer["status"] != "success":
        raise BadQuery(f"VictoriaMetrics: {answer.get('error')}")
    found: dict[tuple[int, tuple[str, ...]], float] = {}
    for line in answer["data"]["result"]:
        tags = tuple(line["metric"].get(tag, "") for tag in series.group_by)
        for t, value in line["values"] if series.every else [line["value"]]:
            key = (t + SHIFT, tags)
            if key in found:
                raise BadQuery("p95 over several series: group by what tells them apart, or use across")
            found[key] = float(value)
    rows = [Row(t, tags, value) for (t, tags), value in found.items() if not isnan(value)]
    return ordered(series, rows)


def _selector(series: Series) -> str:
    """Which metrics; the name as a test, for it may be a word of the language."""
    tests = [f"__name__={_text(f'{series.measurement}_{series.field}')}"]
    for tag, operator, value in series.where:
        values = value.split("|") if operator == "in" else [value]
        # An empty tag and one that isn't there are the same to VictoriaMetrics, and only those of PLACE are ever empty.
        values = [each if each or tag in PLACE else NOBODY for each in values]
        if operator == "prefix":
            some = ".*" if value or tag in PLACE else ".+"
            tests.append(f"{tag}=~{_text(re.escape(value) + some)}")
        elif operator == "in":
            tests.append(f"{tag}=~{_text('|'.join(re.escape(each) for each in values))}")
        else:
            tests.append(f"{tag}{operator}{_text(values[0])}")
    return "{" + ", ".join(tests) + "}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(series: Series, length: int) -> str:
    """The values of buckets of ``length`` seconds."""
    by = ", ".join(dict.fromkeys(series.group_by))
    if not series.across:
        return _over_time(series, length, f"by ({by})", f"on ({by})")
    place = ", ".join((OURS, *(tag for tag in PLACE if tag not in series.group_by)))
    each = _over_time(series, length, f"without ({place})", f"ignoring ({place})")
    return f"{ACROSS[series.across].format(each)} by ({by})"


def _over_time(series: Series, length: int, keys: str, match: str) -> str:
    """The values of groups over time. ``keys`` makes the groups of an aggregate, ``match`` those of an operator."""
    # Its windows are (t - length, t], ours [t, t + length): asked for at the last millisecond.
    span = f"m[{length}s] offset -{(SHIFT + length) * 1000 - 1}ms"
    name = series.aggregate
    if name == "mean":
        return f"sum(sum_over_time({span})) {keys} / sum(count_over_time({span})) {keys}"
    if name == "count":
        return f"sum(count_over_time({span})) {keys}"
    if name in {"min", "max", "sum"}:
        return f"{name}({name}_over_time({span})) {keys}"
    if name == "p95":
        return f"quantile_over_time(0.95, {span})"
    if name == "rate":
        return f"sum({_increase(series, span)}) {keys} / {series.window}"
    at, most = f"t{name}_over_time({span})", "max" if name == "last" else "min"
    newest = f"{at} == {match} group_left() {most}({at}) {keys}"
    return f"max({name}_over_time({span}) if ({newest})) {keys}"


def _increase(series: Series, span: str) -> str:
    """How far each counter went; ``increase_pure`` would take a counter's first value for a step from 0."""
    reach = min(series.stop - series.first + LOOK_BACK, series.first - SHIFT)
    earlier = f"m[{reach}s] offset -{SHIFT * 1000 - 1}ms"
    before = f"(last_over_time({earlier}) if (tlast_over_time({earlier}) >= {series.first - LOOK_BACK}))"
    begin = f"first_over_time({span})"
    on, anew = f"({begin} - {before}) >= 0", f"{begin} if ({begin} < {before})"
    return _together(f"increase_prometheus({span})", on, anew)


def _together(*expressions: str) -> str:
    """All series of all expressions; told apart by a label of ours, for of two that are alike one would be left out."""
    return "(" + ", ".join(f'label_set({each}, "{OURS}", "{i}")' for i, each in enumerate(expressions)) + ")"
