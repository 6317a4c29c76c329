"""One question, three stores: VictoriaMetrics and InfluxDB answer as DuckDB does, on the same samples.

DuckDB itself is held to a plain reference in ``test_sql.py``. Where a server can't answer alike, a test says how.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import InfluxDB, VictoriaMetrics, free_port
from storeproxy import StoreProxy

from schoolpulse_agent.wire import group_key, split_group
from schoolpulse_collector.influxql import frame as influx_frame
from schoolpulse_collector.influxql import to_influxql
from schoolpulse_collector.metricsql import MAX_POINTS, to_metricsql
from schoolpulse_collector.metricsql import frame as metrics_frame
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import ACROSS, AGGREGATES, BadQuery, Frame, Row, Series
from schoolpulse_collector.store import Store, open_store

DAY = 86_400
# 11:00 in Viet Nam, ten days ago: what is much older or newer than now, a server would not keep
BEGIN = int(time.time()) // DAY * DAY - 10 * DAY + 4 * 3600
HOURS, STEP = 30, 300  # two midnights
RANGE = (BEGIN + 3700, BEGIN + HOURS * 3600 - 500)  # neither lies on a bucket's edge
SCHOOLS = ("hcm/TP. Thủ Đức/Trường 1", "hcm/TP. Thủ Đức/Trường 2", "hcm/Quận 'Một' \"1\\2\"")
PATHS = ("/", "/dữ liệu", 'a, "b" = c', "it's C:\\x|y")


# The data: eight devices in three schools, one of them with an empty room, most with two disks and one without a
# path; samples on bucket edges, and 1 ms beside; a gap in which nobody reports; lost reports; counters that start
# anew; and a device that moves. No two samples have one instant, so that each "last" is one value.


def make_records() -> list[Record]:
    chance, records = random.Random(21), list[Record]()
    for number in range(8):
        counters: dict[str, float] = defaultdict(lambda: 5e9)
        for k in range(HOURS * 3600 // STEP):
            t = (BEGIN + k * STEP) * 1000 + (0, -1, 1, 150_000, 7_001, 33_333, 60_500, 299_998)[number]
            if 100 < k < 140 or chance.random() < 0.15:
                continue
            path = PATHS[(number + k % 2 * (number != 7)) % 4]
            counters[path] = (
                chance.randint(0, 99) if chance.random() < 0.02 else counters[path] + chance.randint(0, 9999)
            )
            fields = {"reads": counters[path]} | ({"used": chance.uniform(0, 100)} if chance.random() < 0.9 else {})
            m = {group_key("disk", {"path": path} if number != 7 else {}): fields}
            room = "" if number == 6 else f"r{number % 5}"
            moving = {"reads": k * 10.0, "used": float(k % 7)}
            records.append(Record(f"d{number}", 7, k + 1, t, 0, SCHOOLS[number % 3], room, "lab_pc", m))
            if number == 3:
                place = "old" if k < 200 else "new"
                records.append(Record("mover", 7, k + 1, t, 0, SCHOOLS[0], place, "lab_pc", {"desk": moving}))
    chance.shuffle(records)
    return records


def line(record: Record, group: str, backslash: str) -> str:
    """One group in line protocol."""
    measurement, own = split_group(group)
    tags = {"device": record.device, "school": record.school, "room": record.room, "kind": record.kind, **dict(own)}
    text = "".join(
        f",{tag}=" + re.sub(r"([,= ])", r"\\\1", value.replace("\\", backslash)) for tag, value in tags.items() if value
    )
    return f"{measurement}{text} {','.join(f'{name}={value!r}' for name, value in record.m[group].items())} {record.t}"


class Server(Protocol):
    """A store that speaks another language."""

    def write(self, records: Sequence[Record]) -> None: ...

    def query(self, series: Series) -> Frame: ...


class Metrics:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def write(self, records: Sequence[Record]) -> None:
        lines = [line(record, group, r"\\") for record in records for group in record.m]
        answer = self._http.post("/api/v2/write?precision=ms", content="\n".join(lines).encode())
        assert answer.status_code == 204, answer.text
        self._http.get("/internal/force_flush").raise_for_status()

    def query(self, series: Series) -> Frame:
        query, parameters = to_metricsql(series)
        path = "/api/v1/query_range" if series.every else "/api/v1/query"
        return metrics_frame(series, self._http.post(path, data={"query": query, **parameters}).json())


class Influx:
    def __init__(self, url: str, written: str) -> None:
        self._http, self._written = httpx.Client(base_url=url, timeout=30), httpx.Client(base_url=written, timeout=30)

    def write(self, records: Sequence[Record]) -> None:
        lines = [line(record, group, "\\") for record in records for group in record.m]
        where = {"bucket": "schoolpulse", "org": "", "precision": "ms"}
        answer = self._written.post("/api/v2/write", params=where, content="\n".join(lines).encode())
        assert answer.status_code == 204, answer.text

    def query(self, series: Series) -> Frame:
        where = {"db": "schoolpulse", "epoch": "s"}
        query = to_influxql(series, ("device", "path"))
        return influx_frame(series, self._http.post("/query", params=where, data={"q": query}).json())


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    program = VictoriaMetrics(tmp_path_factory.mktemp("metrics"))
    server = Metrics(f"http://127.0.0.1:{program.port}")
    server.write(RECORDS)
    yield server
    program.stop()


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    program = InfluxDB(tmp_path_factory.mktemp("influx"))
    proxy = StoreProxy(free_port(), program.port)
    server = Influx(f"http://127.0.0.1:{program.port}", proxy.url)
    server.write(RECORDS)
    yield server
    proxy.stop()
    program.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = open_store(f"duckdb://{tmp_path_factory.mktemp('dialects')}/samples.duckdb", Path())
    assert made.write(RECORDS) == []
    yield made
    made.close()


RECORDS = make_records()


def assert_equal(found: Frame, wanted: Frame) -> None:
    assert found.group_by == wanted.group_by
    assert [row[:2] for row in found.rows] == [row[:2] for row in wanted.rows]
    assert [row.value for row in found.rows] == pytest.approx([row.value for row in wanted.rows], rel=1e-9, abs=1e-9)


def ask(**what: Any) -> Series:
    field = "reads" if what.get("aggregate") == "rate" else "used"
    return replace(Series("disk", field, *RANGE), **what)


EACH = ("device", "path")
QUESTIONS = {
    **{f"{name} of all": ask(aggregate=name) for name in AGGREGATES if name != "p95"},
    **{f"{name} by 5 min": ask(aggregate=name, every=300) for name in AGGREGATES if name != "p95"},
    **{
        f"{name} by 1 h of disks": ask(aggregate=name, every=3600, group_by=EACH)
        for name in AGGREGATES
        if name != "p95"
    },
    **{f"last across, {how}": ask(aggregate="last", every=900, across=how, group_by=("school",)) for how in ACROSS},
    **{f"rate across, {how}": ask(aggregate="rate", every=1800, across=how, group_by=("school",)) for how in ACROSS},
    "days": ask(every=DAY, aggregate="sum"),
    "days of schools": ask(every=DAY, aggregate="mean", group_by=("school",), across="mean"),
    "days of counters": ask(every=DAY, aggregate="rate", group_by=EACH),
    "days elsewhere": ask(every=DAY, aggregate="count", tz="America/Caracas"),
    "weeks": ask(every=7 * DAY, aggregate="count"),
    "7 min": ask(every=420, aggregate="first", group_by=("room",)),
    "whole buckets": ask(start=BEGIN, stop=BEGIN + 7200, every=300, aggregate="sum"),
    "1 s": ask(start=BEGIN + 7190, stop=BEGIN + 7210, every=1, aggregate="count"),
    "to the end of time": ask(stop=2**33, aggregate="sum", group_by=("kind",)),
    "from 1975": ask(start=1_600_000 * 100, aggregate="rate"),
    "nothing there": ask(start=BEGIN - DAY, stop=BEGIN - 7200, every=3600),
    "in the gap": ask(start=BEGIN + 101 * STEP + 600, stop=BEGIN + 139 * STEP, aggregate="rate", every=300),
    "empty room": ask(where=(("room", "=", ""),), group_by=EACH),
    "some room": ask(where=(("room", "!=", ""),), group_by=("room",)),
    "any school": ask(where=(("school", "prefix", ""),), group_by=("room",)),
    "any room": ask(where=(("room", "prefix", ""),), group_by=("room",)),
    "rooms or none": ask(where=(("room", "in", "r1|"),), group_by=("room",)),
    "path = nothing": ask(where=(("path", "=", ""),), group_by=EACH),
    "path != nothing": ask(where=(("path", "!=", ""),), group_by=EACH),
    "path in nothing": ask(where=(("path", "in", "|/"),), group_by=EACH),
    "path of any kind": ask(where=(("path", "prefix", ""),), group_by=EACH),
    "path = accents": ask(where=(("path", "=", "/dữ liệu"),), group_by=EACH),
    "path = comma": ask(where=(("path", "=", PATHS[2]),), group_by=EACH),
    "path != backslash": ask(where=(("path", "!=", PATHS[3]),), group_by=EACH),
    "path != root": ask(where=(("path", "!=", "/"),), group_by=("path",), every=3600),
    "path prefix root": ask(where=(("path", "prefix", "/"),), group_by=EACH, aggregate="rate"),
    "path prefix backslash": ask(where=(("path", "prefix", "it's C:\\"),), group_by=EACH),
    "school quoted": ask(where=(("school", "=", SCHOOLS[2]),), every=3600, aggregate="rate", group_by=("device",)),
    "school in": ask(where=(("school", "in", "|".join(SCHOOLS[1:])),), group_by=("school", "room")),
    "school prefix dots": ask(where=(("school", "prefix", "hcm/TP. Thủ"),), every=3600),
    "many tests": ask(where=(("school", "prefix", "hcm"), ("path", "!=", "/"), ("device", "in", "d1|d7|d5|?"))),
    "top 5 disks": ask(group_by=EACH, limit=5, aggregate="max"),
    "top 5 of all hours": ask(group_by=EACH, limit=5, every=3600),
    "top with ties": ask(group_by=EACH, limit=20, every=3600, aggregate="count"),
    "top across": ask(group_by=("school",), limit=2, every=3600, aggregate="rate", across="sum"),
    "a tag twice": ask(group_by=("school", "school")),
    "moving": Series("desk", "used", *RANGE, every=DAY, group_by=("room",)),
    "moving counts once": Series("desk", "used", *RANGE, every=DAY, aggregate="count", across="count"),
    "moving pools": Series("desk", "used", *RANGE, every=3 * DAY, across="sum"),
    "moving across by room": Series("desk", "used", *RANGE, every=3 * DAY, across="sum", group_by=("room",)),
    "moving last": Series("desk", "used", *RANGE, aggregate="last", across="max"),
}


@pytest.mark.parametrize("name", ["metrics", "influx"])
@pytest.mark.parametrize("series", QUESTIONS.values(), ids=QUESTIONS)
def test_servers_answer_as_duckdb(request: pytest.FixtureRequest, store: Store, name: str, series: Series) -> None:
    server: Server = request.getfixturevalue(name)
    assert_equal(server.query(series), store.query(series))


def test_most_questions_of_the_table_have_answers(store: Store) -> None:
    empty = {name for name, series in QUESTIONS.items() if not store.query(series).rows}
    assert empty == {"nothing there", "in the gap", "path = nothing"}


def questions(aggregates: Sequence[str]) -> st.SearchStrategy[Series]:
    tests = st.sampled_from(
        [("school", "prefix", "hcm/TP."), ("path", "!=", "/"), ("room", "in", "r1|r2|"), ("device", "=", "d4")]
    )
    return st.builds(
        lambda start, length, **what: ask(start=BEGIN + start, stop=BEGIN + start + length, **what),
        start=st.integers(-DAY, HOURS * 3600),
        length=st.integers(1, 20_000),
        every=st.sampled_from([None, 17, 60, 420, 3600, DAY]),
        aggregate=st.sampled_from(aggregates),
        across=st.sampled_from([None, *ACROSS]),
        where=st.lists(tests, max_size=2).map(tuple),
        group_by=st.sampled_from([(), ("school",), ("room", "path"), EACH]),
        limit=st.sampled_from([None, None, 3]),
    )


often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@often
@given(questions(AGGREGATES))
def test_victoria_metrics_answers_any_question_as_duckdb(metrics: Metrics, store: Store, series: Series) -> None:
    if series.aggregate == "p95" and not series.across:
        series = replace(series, group_by=EACH)
    assert_equal(metrics.query(series), store.query(series))


@often
@given(questions([name for name in AGGREGATES if name != "p95"]))
def test_influxdb_answers_any_question_as_duckdb(influx: Influx, store: Store, series: Series) -> None:
    assert_equal(influx.query(series), store.query(series))


# What is not equal, and how.


def test_p95_of_one_series_is_equal_in_victoria_metrics(metrics: Metrics, store: Store) -> None:
    series = ask(aggregate="p95", every=3600, group_by=EACH)
    assert_equal(metrics.query(series), store.query(series))


def test_p95_of_several_series_together_is_a_bad_query_in_victoria_metrics(metrics: Metrics) -> None:
    with pytest.raises(BadQuery, match="across"):
        metrics.query(ask(aggregate="p95", every=3600, group_by=("device",)))


def test_p95_over_time_is_the_nearest_rank_in_influxdb(influx: Influx) -> None:
    used = sorted(
        fields["used"] for record in RECORDS if RANGE[0] * 1000 <= record.t < RANGE[1] * 1000
        for fields in record.m.values() if "used" in fields and record.device != "mover"
    )  # fmt: skip
    assert [row.value for row in influx.query(ask(aggregate="p95")).rows] == [used[int(len(used) * 0.95 + 0.5) - 1]]


def counter(*values: float) -> list[Record]:
    """A device that counts ``x.n`` once a minute."""
    return [
        Record("one", 7, i + 1, (BEGIN + i * 60) * 1000, 0, "s", "r", "k", {"x": {"n": value}})
        for i, value in enumerate(values)
    ]


def test_a_counter_that_goes_back_a_little_stands_still_in_victoria_metrics(metrics: Metrics, influx: Influx) -> None:
    for server in (metrics, influx):
        server.write(counter(100, 160, 150, 151))
    asked = Series("x", "n", BEGIN, BEGIN + 600, aggregate="rate")
    assert influx.query(asked).rows == [Row(BEGIN, (), pytest.approx((60 + 150 + 1) / 600))]
    assert metrics.query(asked).rows == [Row(BEGIN, (), pytest.approx((60 + 0 + 1) / 600))]


def test_a_step_over_a_move_is_lost_in_victoria_metrics_and_in_influxdb_by_room(
    metrics: Metrics, influx: Influx, store: Store
) -> None:
    asked = Series("desk", "reads", *RANGE, aggregate="rate")
    whole = store.query(asked)
    assert_equal(influx.query(asked), whole)
    assert 0.9 * whole.rows[0].value < metrics.query(asked).rows[0].value < whole.rows[0].value
    by_room = replace(asked, group_by=("room",))
    assert_equal(influx.query(by_room), metrics.query(by_room))
    assert sum(row.value for row in influx.query(by_room).rows) < sum(row.value for row in store.query(by_room).rows)


@pytest.mark.parametrize("name", ["metrics", "influx"])
def test_a_tag_that_nobody_has_is_one_that_all_lack(request: pytest.FixtureRequest, name: str, store: Store) -> None:
    server: Server = request.getfixturevalue(name)
    assert_equal(server.query(ask(where=(("colour", "!=", "red"),))), store.query(ask()))
    for test in (("colour", "=", "red"), ("colour", "in", "red|"), ("colour", "prefix", "")):
        assert server.query(ask(where=(test,))).rows == []


def test_victoria_metrics_keeps_12_digits_at_least(metrics: Metrics, influx: Influx) -> None:
    for server in (metrics, influx):
        server.write([Record("d", 7, 1, BEGIN * 1000, 0, "s", "r", "k", {"third": {"n": 1 / 3}})])
    asked = Series("third", "n", BEGIN, BEGIN + 60)
    assert influx.query(asked).rows == [Row(BEGIN, (), 1 / 3)]
    assert metrics.query(asked).rows == [Row(BEGIN, (), pytest.approx(1 / 3, rel=1e-11))]


def test_two_metrics_of_one_name_are_one_in_victoria_metrics(metrics: Metrics) -> None:
    for i, (measurement, field) in enumerate((("a_b", "c"), ("a", "b_c")), 1):
        metrics.write([Record("d", 7, i, (BEGIN + i) * 1000, 0, "s", "r", "k", {measurement: {field: 1.0}})])
    assert metrics.query(Series("a", "b_c", BEGIN, BEGIN + 60, aggregate="count")).rows == [Row(BEGIN, (), 2.0)]


# Buckets that aren't over, and what a server would not answer.


def test_a_bucket_that_is_not_over_has_its_own_value(metrics: Metrics, influx: Influx) -> None:
    now = int(time.time())
    records = [Record("d", 7, i, (now - i) * 1000, 0, "s", "r", "k", {"fresh": {"n": 1.0}}) for i in range(1, 60)]
    for server in (metrics, influx):
        server.write(records)
        for stop in (now, now + 5, now + 20, now + 100):
            rows = server.query(Series("fresh", "n", now - 30, stop, every=20, aggregate="sum")).rows
            assert [row.t for row in rows] == sorted({(now - i) // 20 * 20 for i in range(1, 31)})
            assert rows[-1].value == (now - 1) % 20 + 1


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"start": 1000}, "1971"),
        ({"stop": 2**34}, "2262"),
        ({"start": BEGIN - MAX_POINTS, "stop": BEGIN + 1, "every": 1}, "buckets"),
        ({"where": (("device", "in", "|".join(["x" * 100] * 200)),)}, "bytes"),
    ],
)
def test_what_victoria_metrics_would_not_answer_is_a_bad_query(what: Any, message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        to_metricsql(ask(**what))


def test_as_much_as_may_be_asked_of_victoria_metrics_is_answered(metrics: Metrics) -> None:
    assert (
        metrics.query(ask(start=BEGIN - MAX_POINTS + 1, stop=BEGIN + 1, every=1)).rows
        == metrics.query(ask(start=BEGIN - 10, stop=BEGIN + 1, every=1)).rows
    )
    assert metrics.query(ask(where=(("device", "in", "|".join(["d1", *["x" * 100] * 150])),))).rows


def test_a_year_that_influxdb_does_not_know_is_a_bad_query() -> None:
    with pytest.raises(BadQuery, match="2262"):
        to_influxql(ask(stop=2**34), EACH)


@pytest.mark.parametrize("start", [0, 100, 10_000_000])
def test_influxdb_answers_from_the_beginning_of_time(influx: Influx, store: Store, start: int) -> None:
    for name in ("sum", "rate"):
        for every in (None, 30 * DAY):
            series = ask(start=start, aggregate=name, every=every, group_by=EACH)
            assert_equal(influx.query(series), store.query(series))


def test_an_error_for_an_answer_is_a_bad_query() -> None:
    with pytest.raises(BadQuery, match="too dear"):
        metrics_frame(ask(), {"status": "error", "error": "too dear"})
    for answer in ({"error": "too dear"}, {"results": [{"statement_id": 0, "error": "too dear"}]}):
        with pytest.raises(BadQuery, match="too dear"):
            influx_frame(ask(), answer)
    with pytest.raises(BadQuery, match="whole"):
        influx_frame(ask(), {"results": [{"series": [], "partial": True}]})


# Any text is only ever a value.


def found(server: Server, measurement: str, operator: str, value: str) -> set[str]:
    series = Series(measurement, "n", BEGIN, BEGIN + 60, where=(("path", operator, value),), group_by=("path",))
    return {row.tags[0] for row in server.query(series).rows}


_printable = st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ,=\"'\\/|.*$^(){}[]#`ệ") | st.just("\\")
_numbers = itertools.count()


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(_printable, min_size=1, max_size=8).filter(str.isprintable), min_size=30, max_size=40, unique=True)
)
def test_a_value_finds_its_own_rows_only(metrics: Metrics, influx: Influx, values: list[str]) -> None:
    measurement = f"text{next(_numbers)}"
    values = [*values, *(f"{value}{end}" for value in values[:5] for end in ("/", "\\/", "\\x", ".*"))]
    values = list(dict.fromkeys(value for value in values if not value.endswith("\\")))
    records = [
        Record("d", 7, i, BEGIN * 1000, 0, "s", "r", "k", {group_key(measurement, {"path": value}): {"n": 1.0}})
        for i, value in enumerate(values, 1)
    ]
    for server in (metrics, influx):
        server.write(records)
        assert found(server, measurement, "prefix", "") == set(values)
        for value in values:
            assert found(server, measurement, "=", value) == {value}
            start = value[: len(value) // 2 + 1]
            assert found(server, measurement, "prefix", start) == {each for each in values if each.startswith(start)}
            if "|" not in value:
                assert found(server, measurement, "in", f"{value}|") == {value}
        assert found(server, measurement, "!=", values[0]) == set(values[1:])


def test_a_value_that_ends_in_a_backslash_comes_back_from_victoria_metrics_only(
    metrics: Metrics, influx: Influx
) -> None:
    end = [Record("d", 7, 1, BEGIN * 1000, 0, "s", "r", "k", {group_key("end", {"path": "C:\\"}): {"n": 1.0}})]
    metrics.write(end)
    assert found(metrics, "end", "=", "C:\\") == found(metrics, "end", "prefix", "C:\\") == {"C:\\"}
    with pytest.raises(AssertionError, match="invalid tag format"):
        influx.write(end)


@pytest.mark.parametrize("word", ["by", "if", "on", "offset", "group", "bool", "select", "from", "inf", "without"])
def test_words_of_a_language_are_names_like_others(metrics: Metrics, influx: Influx, word: str) -> None:
    record = Record("d", 7, 1, BEGIN * 1000, 0, "s", "r", "k", {group_key(word, {f"{word}": word}): {"left": 3.0}})
    series = Series(word, "left", BEGIN, BEGIN + 60, where=((word, "=", word),), group_by=(word,), across="max")
    for server in (metrics, influx):
        server.write([record])
        assert server.query(series).rows == [Row(BEGIN, (word,), 3.0)]
