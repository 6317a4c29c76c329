"""``/api/v1/series``: any field over time. The parameters are the fields of ``Series``."""

from __future__ import annotations

import re
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from schoolpulse_agent import probe
from schoolpulse_api.access import needs
from schoolpulse_api.refusals import documented
from schoolpulse_api.view import View
from schoolpulse_collector.series import ACROSS, AGGREGATES, BadQuery, Frame, Series, seconds
from schoolpulse_collector.store import StoreDown

_CONDITION = re.compile(r"([a-z][a-z0-9_]*)(!=|=| in | prefix )(.*)", re.DOTALL).fullmatch


class LineOut(BaseModel):
    """One line of a chart: its tags and its points [unix seconds, value]."""

    tags: dict[str, str]
    points: list[tuple[int, float]]


class SeriesOut(BaseModel):
    """An answer; ``unit`` and labels are those of the field, if a probe of this version has it."""

    measurement: str
    field: str
    unit: str | None
    en: str | None
    vi: str | None
    start: int
    stop: int
    every: int | None
    series: list[LineOut]


def router() -> APIRouter:
    """The route."""
    made = APIRouter(prefix="/api/v1", tags=["series"])
    known = probe.metrics()
    refusals = documented(_400="the question is wrong; the answer says how")

    @made.get("/series", summary="Values of a field over time", responses=refusals)
    def series(
        view: Annotated[View, needs("viewer")],
        measurement: Annotated[str, Query(examples=["cpu"])],
        field: Annotated[str, Query(examples=["usage_active"])],
        start: Annotated[str, Query(description="unix seconds, or back from now: -15m, -1h, -7d")] = "-1h",
        stop: Annotated[str, Query(description="unix seconds, or now")] = "now",
        where: Annotated[
            list[str] | None, Query(description="device=d1 · room!=r1 · device in d1|d2 · path prefix /home")
        ] = None,
        group_by: Annotated[list[str] | None, Query(description="tags; several, or joined by commas")] = None,
        every: Annotated[
            str | None, Query(description="bucket: 10s, 5m, 1h, 1d; left out: one value for the range")
        ] = None,
        aggregate: Annotated[str, Query(description=f"over time: {', '.join(AGGREGATES)}")] = "mean",
        across: Annotated[str | None, Query(description=f"then over devices: {', '.join(ACROSS)}")] = None,
        limit: Annotated[int | None, Query(description="only the N highest values")] = None,
        tz: Annotated[str, Query(description="whose midnight a 1d bucket begins at; empty: the centre's")] = "",
    ) -> SeriesOut:
        now = int(time.time())
        try:
            asked = Series(
                measurement,
                field,
                _instant(start, now),
                _instant(stop, now + 1),
                tuple(_condition(each) for each in where or ()),
                tuple(tag.strip() for each in group_by or () for tag in each.split(",") if tag.strip()),
                seconds(every) if every else None,
                aggregate,
                across,
                limit,
                tz or view.time_zone,
            )
            frame = view.query(asked)
        except BadQuery as why:
            raise HTTPException(400, str(why)) from None
        except StoreDown as why:
            raise HTTPException(503, f"the store does not answer: {why}", {"Retry-After": "5"}) from None
        meaning = known.get((measurement, field))
        return SeriesOut(
            measurement=measurement,
            field=field,
            unit=meaning and meaning.unit,
            en=meaning and meaning.en,
            vi=meaning and meaning.vi,
            start=asked.start,
            stop=asked.stop,
            every=asked.every,
            series=lines(frame),
        )

    return made


def lines(frame: Frame) -> list[LineOut]:
    """A frame's rows gathered into one line for each combination of tags."""
    found: dict[tuple[str, ...], LineOut] = {}
    for row in frame.rows:
        line = found.setdefault(row.tags, LineOut(tags=dict(zip(frame.group_by, row.tags, strict=True)), points=[]))
        line.points.append((row.t, row.value))
    return list(found.values())


def _instant(text: str, now: int) -> int:
    if text == "now":
        return now
    if text.startswith("-"):
        return now - seconds(text[1:])
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise BadQuery(f"time {text!r}: write unix seconds, now, or back from now as -15m, -1h, -7d")
    return int(text)


def _condition(text: str) -> tuple[str, str, str]:
    found = _CONDITION(text)
    if not found:
        raise BadQuery(f"where {text!r}: write device=d1, device!=d1, 'device in d1|d2' or 'path prefix /home'")
    return found[1], found[2].strip(), found[3]
