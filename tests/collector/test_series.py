"""The question itself: what can be asked, where buckets begin, and what is refused before any store hears of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_collector.series import ACROSS, AGGREGATES, MAX_BUCKETS, OPERATORS, BadQuery, Series, seconds

HERE = ZoneInfo("Asia/Ho_Chi_Minh")
START = 1_795_449_600
GOOD = Series("disk", "used_percent", START, START + 3600)

BAD_NAMES = ["", "A", "1a", "_a", "a-b", "a b", "a.b", 'a"b', "a'b", "a;", "é", "ａ", "a\n", "\na", "a" * 65, "a\x00"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    "place",
    [
        lambda name: {"measurement": name},
        lambda name: {"field": name},
        lambda name: {"group_by": ("school", name)},
        lambda name: {"where": (("school", "=", "x"), (name, "=", "x"))},
    ],
    ids=["measurement", "field", "group_by", "where"],
)
def test_what_is_no_name_is_a_bad_query(place: Any, name: str) -> None:
    with pytest.raises(BadQuery, match="name"):
        replace(GOOD, **place(name))


@given(st.text(max_size=10))
def test_any_text_as_a_name_is_a_plain_name_or_a_bad_query(name: str) -> None:
    try:
        replace(GOOD, measurement=name, field=name, group_by=(name,), where=((name, "=", "x"),))
    except BadQuery:
        assert not re.fullmatch("[a-z][a-z0-9_]{0,63}", name)
    else:
        assert re.fullmatch("[a-z][a-z0-9_]{0,63}", name)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"aggregate": "median"}, "mean, min"),
        ({"aggregate": ""}, "mean, min"),
        ({"aggregate": "avg(x)--"}, "mean, min"),
        ({"across": "rate"}, "mean, min"),
        ({"across": "last"}, "mean, min"),
        ({"across": ""}, "mean, min"),
        ({"where": (("school", "==", "x"),)}, "="),
        ({"where": (("school", "", "x"),)}, "="),
        ({"where": (("school", "IN", "x"),)}, "in"),
        ({"where": (("school", "= 1 or 1 =", "x"),)}, "="),
        ({"where": (("school", "=", "a\x00"),)}, "school"),
        ({"where": (("school", "in", "a|b\ud800"),)}, "school"),
        ({"start": START + 3600}, "before"),
        ({"start": START + 3601}, "before"),
        ({"start": -1}, "before"),
        ({"stop": 2**40 + 1}, "before"),
        ({"start": START * 1000, "stop": START * 1000 + 1}, "before"),  # milliseconds
        ({"every": 0}, "every"),
        ({"every": -60}, "every"),
        ({"every": 1, "stop": START + MAX_BUCKETS + 1}, "buckets"),
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"tz": ""}, "zone"),
        ({"tz": "Asia"}, "zone"),
        ({"tz": "Asia/Saigon_"}, "zone"),
        ({"tz": "../../etc/passwd"}, "zone"),
        ({"tz": "/etc/passwd"}, "zone"),
        ({"tz": "a\x00b"}, "zone"),
        ({"tz": "x" * 5000}, "zone"),
    ],
)
def test_what_no_store_could_answer_is_a_bad_query_that_says_what_to_change(what: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        replace(GOOD, **what)


@pytest.mark.parametrize(
    "what",
    [
        *({"aggregate": name} for name in AGGREGATES),
        *({"across": name} for name in ACROSS),
        *({"where": (("school", operator, "x"),)} for operator in OPERATORS),
        {"every": 1, "stop": START + MAX_BUCKETS},
        {"limit": 1},
        {"where": (("path", "=", "C:\\Trường 'Đống Đa'"),)},
        {"tz": "UTC"},
        {"start": 0},
        {"measurement": "a" * 64},
    ],
)
def test_what_a_store_can_answer_is_accepted(what: dict[str, Any]) -> None:
    assert replace(GOOD, **what).window > 0


@pytest.mark.parametrize("start", [2**37, 253_402_300_799 - 3600, 2**38 - 3600, 2**40 - 3600])
@pytest.mark.parametrize("every", [None, 60])
def test_a_time_thousands_of_years_ahead_is_answered_or_a_bad_query(start: int, every: int | None) -> None:
    try:
        series = Series("disk", "free", start, start + 3600, every=every)
        assert start - 3600 < series.first <= start
        assert 0 <= series.offset < series.window
    except BadQuery:
        pass


@pytest.mark.parametrize(
    ("text", "span"),
    [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3600), ("24h", 86_400), ("1d", 86_400), ("7d", 604_800), ("010s", 10)],
)
def test_a_span_is_a_number_and_a_unit(text: str, span: int) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", " 5m", "5m ", "5m\n", "5M", "-5m", "+5m", "1.5h", "1h30m", "5w", "5ms", "1234567s"]
)
def test_any_other_span_is_a_bad_query(text: str) -> None:
    with pytest.raises(BadQuery, match="span"):
        seconds(text)


@given(st.integers(0, 999_999), st.sampled_from("smhd"))
def test_every_span_is_so_many_of_its_unit(number: int, unit: str) -> None:
    length = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    assert seconds(f"{number}{unit}") == number * length[unit].total_seconds()


@given(st.integers(10**9, 4 * 10**9), st.sampled_from([1, 7, 60, 300, 3600, 86_400]))
def test_the_first_bucket_begins_at_or_before_start_by_less_than_a_bucket(start: int, every: int) -> None:
    series = Series("disk", "free", start, start + 1, every=every)
    assert series.first <= start < series.first + every
    assert replace(series, start=series.first).first == series.first


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)))
def test_day_buckets_begin_at_local_midnight(moment: datetime) -> None:
    start = int(moment.replace(tzinfo=UTC).timestamp())
    first = Series("disk", "free", start, start + 1, every=86_400).first
    local = datetime.fromtimestamp(first, HERE)
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert local.date() == datetime.fromtimestamp(start, HERE).date()


@pytest.mark.parametrize(
    ("tz", "every", "label"),
    [
        ("Asia/Ho_Chi_Minh", 86_400, "2026-11-22T17:00:00+00:00"),
        ("UTC", 86_400, "2026-11-23T00:00:00+00:00"),
        ("America/New_York", 86_400, "2026-11-23T05:00:00+00:00"),
        ("Asia/Kolkata", 3600, "2026-11-23T12:30:00+00:00"),
        ("Asia/Ho_Chi_Minh", 3600, "2026-11-23T13:00:00+00:00"),
    ],
)
def test_buckets_are_aligned_to_the_zone_asked_for(tz: str, every: int, label: str) -> None:
    start = int(datetime(2026, 11, 23, 13, 20, 5, tzinfo=UTC).timestamp())
    first = Series("disk", "free", start, start + 60, every=every, tz=tz).first
    assert datetime.fromtimestamp(first, UTC).isoformat() == label


def test_without_every_the_range_is_the_one_bucket() -> None:
    series = Series("disk", "free", START + 17, START + 100)
    assert (series.first, series.window) == (START + 17, 83)
