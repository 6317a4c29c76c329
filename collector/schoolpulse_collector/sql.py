"""Compiles a Series to DuckDB's SQL. Times are ``t``, UTC milliseconds, as in every table of ``stores/duckdb.py``."""

from __future__ import annotations

from collections.abc import Collection

from schoolpulse_collector.series import LOOK_BACK, BadQuery, Series

Arguments = list[int | str | list[str]]

OVER = {
    "mean": "avg({})",
    "min": "min({})",
    "max": "max({})",
    "sum": "sum({})",
    "count": "count({})",
    "last": "arg_max({}, t)",
    "first": "arg_min({}, t)",
    "p95": "quantile_cont({}, 0.95)",  # interpolates, as MetricsQL does
}


def to_sql(series: Series, tags: Collection[str], identity: Collection[str], source: str) -> tuple[str, Arguments]:
    """Return a query with columns (t in seconds, the tags grouped by, value) and its arguments.

    Our own names begin with _, which no measured one does.

    ``tags``: those the measurement has. ``identity``: those that tell one series of a counter from another. ``source``:
    what to select from.
    Every name was checked to be a plain name, every value is an argument.
    """
    for tag in (*series.group_by, *(tag for tag, _, _ in series.where)):
        if tag not in tags:
            raise BadQuery(f"{series.measurement} has no tag {tag!r}: it has {', '.join(sorted(tags))}")
    test, arguments = _where(series)
    window, shift = series.window * 1000, series.offset * 1000
    field = f'"{series.field}"'
    bucket = f"((t + {shift}) // {window} * {window} - {shift}) // 1000" if series.every else f"{series.first}"
    if series.aggregate == "rate":
        source, value = _rate_source(source, test, field, identity), f"sum(_step) / {series.window}.0"
        arguments = [(series.first - LOOK_BACK) * 1000, series.stop * 1000, *arguments]
        test = f"_step is not null and t >= {series.first * 1000}"
    else:
        value = OVER[series.aggregate].format(field)
        arguments = [series.first * 1000, series.stop * 1000, *arguments]
        test = f"t >= ? and t < ?{test} and {field} is not null"
    by = "".join(f', "{tag}"' for tag in series.group_by)
    keys = "".join(f', "{tag}"' for tag in dict.fromkeys((*identity, *series.group_by))) if series.across else by
    sql = f"select {bucket} as _b{keys}, {value} as _v from {source} where {test} group by all having count(*) > 0"
    if series.across:
        sql = f"select _b{by}, {OVER[series.across].format('_v')} as _v from ({sql}) group by all"
    sql = f"select _b{by}, _v from ({sql}) where _v is not null"
    order = "".join(f', "{tag}" nulls first' for tag in series.group_by)
    if series.limit:
        return f"{sql} order by _v desc, _b{order} limit {series.limit}", arguments
    return f"{sql} order by {order[2:]}{', ' if by else ''}_b", arguments


def _where(series: Series) -> tuple[str, Arguments]:
    tests, arguments = "", Arguments()
    for tag, operator, value in series.where:
        if operator == "in":
            tests += f' and "{tag}" in (select unnest(?::varchar[]))'
            arguments.append(value.split("|"))
        elif operator == "prefix":
            tests += f' and starts_with("{tag}", ?)'
            arguments.append(value)
        elif operator == "!=":
            tests += f' and "{tag}" is distinct from ?'
            arguments.append(value)
        else:
            tests += f' and "{tag}" = ?'
            arguments.append(value)
    return tests, arguments


def _rate_source(source: str, test: str, field: str, identity: Collection[str]) -> str:
    """Rows with ``_step``: how far the counter went since the row before; a step belongs to its later row's bucket."""
    by = ", ".join(f'"{tag}"' for tag in identity)
    before = f"lag({field}) over (partition by {by} order by t)"
    return (
        f"(select *, case when _before is null then null when {field} < _before then {field} "
        f"else {field} - _before end as _step from "
        f"(select *, {before} as _before from {source} where t >= ? and t < ?{test} and {field} is not null))"
    )
