"""The charts of a device's page, as one readable list, and how each is read from the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schoolpulse_api.text import text
from schoolpulse_collector.series import Series
from schoolpulse_collector.store import Store

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
            "axisLabel": {"color": "#7a8aa0"},
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


def read(store: Store, chart: Chart, device: str, start: int, stop: int, lang: str, zone: str) -> list[dict[str, Any]]:
    """The chart's lines in [start, stop), unix seconds, their times as ``local`` gives them. Raises StoreDown."""
    every = max(10, (stop - start) // POINTS)
    found: list[dict[str, Any]] = []
    for line in chart.lines:
        by = (line.by,) if line.by else ()
        asked = Series(line.measurement, line.field, start, stop, (("device", "=", device),), by, every, line.aggregate)
        points: dict[str, list[tuple[int, float]]] = {}
        for row in store.query(asked).rows:
            name = row.tags[0] if row.tags else text(line.name, lang)
            points.setdefault(name, []).append((local(row.t, zone), round(row.value * line.factor, 2)))
        found += [{"type": "line", "name": name, "data": data, "showSymbol": False} for name, data in points.items()]
    return found
