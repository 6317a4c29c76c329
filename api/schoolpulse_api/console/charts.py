"""The charts of a device's page, as one readable list, and how each is read from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schoolpulse_api.text import text
from schoolpulse_collector.series import Frame, Row, Series

FEW = 10  # points; a line of so few shows each, or a single one could not be seen
POINTS = 180  # in one line, about


@dataclass(frozen=True)
class Line:
    """One field in a chart; ``name`` is a text's key, empty to name lines by their tag."""

    measurement: str
    field: str
    aggregate: str = "mean"
    name: str = ""
    by: str = ""
    factor: float = 1.0


@dataclass(frozen=True)
class Chart:
    """One chart; ``title`` is a text's key."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    top: float | None = None


CHARTS = (
    Chart("cpu", "%", (Line("cpu", "usage_active", name="cpu"),), top=100),
    Chart("memory", "%", (Line("mem", "used_percent", name="memory"),), top=100),
    Chart(
        "network",
        "kB/s",
        (
            Line("net", "bytes_recv", "rate", name="received", factor=0.001),
            Line("net", "bytes_sent", "rate", name="sent", factor=0.001),
        ),
    ),
    Chart("disk", "%", (Line("disk", "used_percent", by="path"),), top=100),
)


def options(chart: Chart, lang: str) -> dict[str, Any]:
    """A chart without its values, for ECharts."""
    return {
        "animation": False,
        "useUTC": True,  # points are shifted to the centre's zone: all who look at a chart together see one time
        "title": {
            "left": 0,
            "top": 0,
            "text": f"{text(chart.title, lang)} ({chart.unit})",
            "textStyle": {"fontSize": 14, "color": "#7a8aa0"},
        },
        "grid": {"left": 48, "right": 16, "top": 40, "bottom": 28},
        "legend": {
            "right": 0,
            "top": 0,
            "textStyle": {"color": "#7a8aa0"},
            "show": len(chart.lines) > 1 or bool(chart.lines[0].by),
        },
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "axisLabel": {"color": "#7a8aa0", "hideOverlap": True}},
        "yAxis": {
            "type": "value",
            "axisLabel": {"color": "#7a8aa0", ":formatter": f"value => value.toLocaleString('{lang}')"},
            "min": 0,
            "max": chart.top,
            "splitLine": {"lineStyle": {"opacity": 0.25}},
        },
        "series": [],
    }


def local(seconds: int, zone: str) -> int:
    """The milliseconds at which ECharts, told to show UTC, shows this instant as the zone's clocks do."""
    ahead = datetime.fromtimestamp(seconds, ZoneInfo(zone)).utcoffset() or timedelta()
    return int((seconds + ahead.total_seconds()) * 1000)


def read(
    query: Callable[[Series], Frame],
    chart: Chart,
    device: str,
    start: int,
    stop: int,
    interval: float,
    lang: str,
    zone: str,
) -> list[dict[str, Any]]:
    """The chart's lines in [start, stop), unix seconds, their times as ``local`` gives them. Raises StoreDown.

    ``interval``: seconds between the device's reports. Where three of them are missing the line is broken.
    """
    every = max(10, (stop - start) // POINTS)
    found: list[dict[str, Any]] = []
    for line in chart.lines:
        by = (line.by,) if line.by else ()
        asked = Series(line.measurement, line.field, start, stop, (("device", "=", device),), by, every, line.aggregate)
        lines: dict[str, list[Row]] = {}
        for row in query(asked).rows:
            lines.setdefault(row.tags[0] if row.tags else text(line.name, lang), []).append(row)
        for name, rows in lines.items():
            data = broken([(row.t, round(row.value * line.factor, 2)) for row in rows], max(2 * every, 3 * interval))
            points = [(local(t, zone), value) for t, value in data]
            found.append({"type": "line", "name": name, "data": points, "showSymbol": len(points) < FEW})
    return found


def broken(points: list[tuple[int, float]], longest: float) -> list[tuple[int, float | None]]:
    """The points, with an empty one in each gap of more than ``longest`` seconds, so that no line is drawn over it."""
    found: list[tuple[int, float | None]] = []
    for t, value in points:
        if found and t - found[-1][0] > longest:
            found.append((found[-1][0] + 1, None))
        found.append((t, value))
    return found
