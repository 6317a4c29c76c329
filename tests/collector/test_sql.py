"""Every kind of question, asked of DuckDB and of a plain-Python reference on the same data."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schoolpulse_agent.wire import group_key
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import ACROSS, AGGREGATES, BadQuery, Frame, Row, Series
from schoolpulse_collector.store import Store, open_store

BEGIN = 1_795_320_000  # 2026-11-22 11:00 in Viet Nam
HOURS = 40  # two midnights
STEP = 240
DAY = 86_400
ZONE = 7 * 3600
LOOK_BACK = 300
SCHOOLS = ("hcm/TP. Thủ Đức/Trường 1", "hcm/TP. Thủ Đức/Trường 2", "hcm/Quận 'Một'")
RANGE = (BEGIN + 3700, BEGIN + HOURS * 3600 - 500)  # neither lies on a bucket's edge


class Sample(NamedTuple):
    """One value as the reference sees it."""

    t: int  # milliseconds
    tags: dict[str, str]
    value: float

    @property
    def identity(self) -> tuple[str, str]:
        """Which disk of which device."""
        return self.tags["device"], self.tags.get("path", "")


# The data: 20 devices, some with two disks and one without a path; lost reports, a gap in which nobody reports, a
# device that moves, counters that start anew, and samples on bucket edges and one millisecond before them. No two
# samples have one instant, so that each "last" is one value.


def make_records() -> list[Record]:
    chance, records = random.Random(20), list[Record]()
    for number in range(20):
        counters: dict[str, float] = defaultdict(float)
        times = [(BEGIN + k * STEP + number * 6) * 1000 for k in range(HOURS * 3600 // STEP)]
        if number == 3:
            times += [(BEGIN + k * 3600) * 1000 - 1 for k in range(1, HOURS)]
        for seq, t in enumerate(sorted(times)):
            gap = BEGIN + 20 * 3600 <= t / 1000 < BEGIN + 20 * 3600 + 9600
            if gap or chance.random() < 0.1:
                continue
            path = ("/", "/home")[seq % 2] if number % 4 == 0 else "C:"
            counters[path] = 0.0 if chance.random() < 0.01 else counters[path] + chance.randint(0, 10_000)
            fields = {"reads": counters[path]}
            if chance.random() < 0.9:
                fields["used"] = round(chance.uniform(0, 100), 2)
            m = {group_key("disk", {"path": path} if number != 7 else {}): fields}
            room = f"r{number % 5}" if number != 5 or t / 1000 < BEGIN + 50_000 else "r-new"
            records.append(Record(f"d{number:02}", 7, seq + 1, t, 0, SCHOOLS[number % 3], room, "lab_pc", m))
    chance.shuffle(records)
    return records


RECORDS = make_records()
SAMPLES: dict[str, list[Sample]] = {"used": [], "reads": []}  # by field, in order of time
for each in sorted(RECORDS, key=lambda record: record.t):
    for key, fields in each.m.items():
        tags = {"device": each.device, "school": each.school, "room": each.room, "kind": each.kind}
        tags |= {"path": key.removeprefix("disk,path=")} if "," in key else {}
        for name, value in fields.items():
            SAMPLES[name].append(Sample(each.t, tags, value))

# The reference.

Pairs = list[tuple[int, float]]


def p95(values: list[float]) -> float:
    values = sorted(values)
    at = 0.95 * (len(values) - 1)
    low = int(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


VALUES: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "p95": p95,
}

TESTS: dict[str, Callable[[str | None, str], bool]] = {
    "=": lambda tag, value: tag == value,
    "!=": lambda tag, value: tag != value,
    "in": lambda tag, value: tag in value.split("|"),
    "prefix": lambda tag, value: tag is not None and tag.startswith(value),
}


def aggregate(name: str, pairs: Pairs, window: int) -> float:
    if name == "last":
        return max(pairs)[1]
    if name == "first":
        return min(pairs)[1]
    if name == "rate":
        return sum(value for _, value in pairs) / window
    return VALUES[name]([value for _, value in pairs])


def steps(samples: list[Sample]) -> Iterator[Sample]:
    """How far each counter went since its value before; one that went back counts from 0."""
    before: dict[tuple[str, str], float] = {}
    for sample in samples:  # in order of time
        if sample.identity in before:
            went = sample.value - before[sample.identity]
            yield sample._replace(value=sample.value if went < 0 else went)
        before[sample.identity] = sample.value


def reference(series: Series) -> list[Row]:
    every = series.every
    first = (series.start + ZONE) // every * every - ZONE if every else series.start
    back = LOOK_BACK if series.aggregate == "rate" else 0
    samples = [
        sample
        for sample in SAMPLES[series.field]
        if (first - back) * 1000 <= sample.t < series.stop * 1000
        and all(TESTS[operator](sample.tags.get(tag), value) for tag, operator, value in series.where)
    ]
    if series.aggregate == "rate":
        samples = [step for step in steps(samples) if step.t >= first * 1000]
    groups: dict[tuple[Any, ...], Pairs] = defaultdict(list)
    for sample in samples:
        bucket = (sample.t // 1000 + ZONE) // every * every - ZONE if every else first
        tags = tuple(sample.tags.get(tag, "") for tag in series.group_by)
        groups[(bucket, tags, sample.identity if series.across else ())].append((sample.t, sample.value))
    window = every or series.stop - series.start
    found = {key: aggregate(series.aggregate, pairs, window) for key, pairs in groups.items()}
    if series.across:
        each: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        for (bucket, tags, _), value in found.items():
            each[(bucket, tags, ())].append(value)
        found = {key: VALUES[series.across](values) for key, values in each.items()}
    rows = [Row(bucket, tags, value) for (bucket, tags, _), value in found.items()]
    return sorted(rows, key=lambda row: (row.tags, row.t))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = open_store(f"duckdb://{tmp_path_factory.mktemp('sql')}/samples.duckdb", Path())
    for at in range(0, len(RECORDS), 3000):
        made.write(RECORDS[at : at + 3000])
    yield made
    made.close()


def assert_equal(store: Store, series: Series) -> list[Row]:
    """The store answers as the reference does, and the answer is not empty."""
    wanted, frame = reference(series), store.query(series)
    assert frame.group_by == series.group_by
    assert [row[:2] for row in frame.rows] == [row[:2] for row in wanted]
    assert [row.value for row in frame.rows] == pytest.approx([row.value for row in wanted], rel=1e-9, abs=1e-9)
    assert wanted
    return frame.rows


def ask(**what: Any) -> Series:
    field = "reads" if what.get("aggregate") == "rate" else "used"
    return Series("disk", field, *RANGE, **what)


# Equal answers.


@pytest.mark.parametrize("across", [None, "mean"])
@pytest.mark.parametrize("group_by", [(), ("room", "school"), ("device", "path")], ids="+".join)
@pytest.mark.parametrize("every", [None, 900, 3600, DAY])
@pytest.mark.parametrize("name", AGGREGATES)
def test_each_aggregate_answers_as_the_reference(
    store: Store, name: str, every: int | None, group_by: tuple[str, ...], across: str | None
) -> None:
    assert_equal(store, ask(aggregate=name, every=every, group_by=group_by, across=across))


@pytest.mark.parametrize("name", ["mean", "count", "last", "rate"])
@pytest.mark.parametrize("across", ACROSS)
def test_each_way_across_devices_answers_as_the_reference(store: Store, across: str, name: str) -> None:
    assert_equal(store, ask(aggregate=name, every=1800, group_by=("school",), across=across))
    assert_equal(store, ask(aggregate=name, across=across))


@pytest.mark.parametrize(
    "where",
    [
        (("school", "=", SCHOOLS[0]),),
        (("school", "=", SCHOOLS[2]),),
        (("school", "!=", SCHOOLS[1]),),
        (("path", "!=", "/home"),),  # the device without a path has another path than this
        (("device", "in", "d01|d02|d19|nobody"),),
        (("school", "in", "|".join(SCHOOLS[:2])),),
        (("school", "prefix", "hcm/TP. Thủ Đức/"),),
        (("device", "prefix", "d1"), ("path", "=", "/")),
        (("school", "prefix", "hcm"), ("room", "!=", "r0"), ("device", "in", "d01|d05")),
    ],
)
@pytest.mark.parametrize("name", ["mean", "count", "rate"])
def test_each_way_to_choose_answers_as_the_reference(store: Store, name: str, where: Any) -> None:
    assert_equal(store, ask(aggregate=name, where=where, group_by=("device",)))
    assert_equal(store, ask(aggregate=name, where=where, every=3600, across="max"))


@pytest.mark.parametrize("limit", [1, 5, 1000])
@pytest.mark.parametrize("every", [None, 3600])
@pytest.mark.parametrize("name", ["max", "mean", "count", "p95", "rate"])
def test_a_limit_gives_the_highest_values_first(store: Store, name: str, every: int | None, limit: int) -> None:
    asked = ask(aggregate=name, every=every, group_by=("device",), limit=limit)
    wanted = {row[:2]: row.value for row in reference(asked)}
    rows = store.query(asked).rows
    values = [row.value for row in rows]
    assert values == pytest.approx([wanted[row[:2]] for row in rows])
    assert values == pytest.approx(sorted(wanted.values(), reverse=True)[:limit])
    assert len({row[:2] for row in rows}) == len(rows)
    assert values == sorted(values, reverse=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, HOURS * 3600 - 1),
    st.integers(1, 20_000),
    st.sampled_from([None, 60, 420, 3600, DAY]),
    st.sampled_from(AGGREGATES),
    st.sampled_from([None, *ACROSS]),
)
def test_any_range_answers_as_the_reference(
    store: Store, start: int, length: int, every: int | None, name: str, across: str | None
) -> None:
    asked = ask(aggregate=name, every=every, across=across, group_by=("school",))
    asked = replace(asked, start=BEGIN + start, stop=BEGIN + start + length)
    wanted, found = reference(asked), store.query(asked).rows
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert [row.value for row in found] == pytest.approx([row.value for row in wanted], rel=1e-9, abs=1e-9)


# The rules of edges, by hand.


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """A store with values (t in seconds after BEGIN: value) of counter ``x.n``."""
    made = open_store(f"duckdb://{tmp_path}/few.duckdb", Path())

    def fill(**devices: dict[float, float]) -> Store:
        for device, values in devices.items():
            made.write(
                [
                    Record(device, 7, i, int((BEGIN + t) * 1000), 0, "s", "r", "k", {"x": {"n": value}})
                    for i, (t, value) in enumerate(values.items(), 1)
                ]
            )
        return made

    yield fill
    made.close()


def pairs(frame: Frame) -> list[tuple[int, float]]:
    return [(row.t - BEGIN, row.value) for row in frame.rows]


def test_a_sample_on_an_edge_belongs_to_the_bucket_that_begins_there(few: Callable[..., Store]) -> None:
    store = few(d={0: 1.0, 299.999: 2.0, 300: 4.0, 599.999: 8.0, 600: 16.0})
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 600, every=300, aggregate="sum"))) == [(0, 3), (300, 12)]


def test_start_is_in_the_range_and_stop_is_not(few: Callable[..., Store]) -> None:
    store = few(d={9.999: 1.0, 10: 2.0, 19.999: 4.0, 20: 8.0})
    assert pairs(store.query(Series("x", "n", BEGIN + 10, BEGIN + 20, aggregate="sum"))) == [(10, 6)]


def test_the_first_bucket_is_whole_when_start_lies_inside_it(few: Callable[..., Store]) -> None:
    store = few(d={0: 1.0, 200: 2.0, 300: 4.0})
    asked = Series("x", "n", BEGIN + 299, BEGIN + 400, every=300, aggregate="sum")
    assert pairs(store.query(asked)) == [(0, 3), (300, 4)]


def test_empty_buckets_are_absent(few: Callable[..., Store]) -> None:
    store = few(d={10: 1.0, 910: 2.0})
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 3600, every=300))) == [(0, 1), (900, 2)]
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 3600, every=300, aggregate="count"))) == [(0, 1), (900, 1)]


@pytest.mark.parametrize("name", AGGREGATES)
def test_where_nothing_was_measured_there_is_no_row(few: Callable[..., Store], name: str) -> None:
    store = few(d={10: 1.0, 20: 2.0})
    for every, across in itertools.product((None, 60), (None, "sum", "count")):
        asked = Series("x", "n", BEGIN + 1000, BEGIN + 2000, every=every, aggregate=name, across=across)
        assert store.query(asked).rows == []


def test_a_counter_that_goes_back_counts_from_0(few: Callable[..., Store]) -> None:
    store = few(d={0: 100.0, 60: 160.0, 120: 30.0, 180: 40.0})
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 300, aggregate="rate"))) == [(0, (60 + 30 + 10) / 300)]


def test_a_step_over_an_edge_belongs_to_the_bucket_of_its_later_sample(few: Callable[..., Store]) -> None:
    store = few(d={0: 0.0, 250: 10.0, 310: 40.0})
    asked = Series("x", "n", BEGIN, BEGIN + 600, every=300, aggregate="rate")
    assert pairs(store.query(asked)) == [(0, 10 / 300), (300, 30 / 300)]
    assert pairs(store.query(replace(asked, start=BEGIN + 300))) == [(300, 30 / 300)]  # its step began before start


def test_the_steps_of_two_counters_are_not_mixed(few: Callable[..., Store]) -> None:
    store = few(a={0: 0.0, 60: 10.0}, b={1: 1000.0, 61: 1020.0})
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 100, aggregate="rate"))) == [(0, 30 / 100)]
    across = Series("x", "n", BEGIN, BEGIN + 100, aggregate="rate", across="max")
    assert pairs(store.query(across)) == [(0, 20 / 100)]


def test_pooled_and_across_are_two_things(few: Callable[..., Store]) -> None:
    store = few(a={0: 10.0}, b={1: 20.0, 2: 30.0, 3: 40.0})
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 60))) == [(0, 25)]
    assert pairs(store.query(Series("x", "n", BEGIN, BEGIN + 60, across="mean"))) == [(0, 20)]


@pytest.mark.parametrize("start", [0, 1, 3 * 3600, 13 * 3600 - 1])
def test_a_day_begins_at_midnight_in_viet_nam_wherever_the_range_starts(few: Callable[..., Store], start: int) -> None:
    midnight = 13 * 3600  # BEGIN is 11:00
    store = few(d={-1: 1.0, 0: 2.0, midnight - 0.001: 4.0, midnight: 8.0, midnight + DAY - 1: 16.0})
    asked = Series("x", "n", BEGIN + start, BEGIN + 2 * DAY, every=DAY, aggregate="sum")
    assert pairs(store.query(asked)) == [(midnight - DAY, 7), (midnight, 24)]


# Any text is only ever a value.


def chosen(operator: str, value: str) -> set[str]:
    return {f"d{n:02}" for n in range(20) if TESTS[operator](f"d{n:02}", value)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(list(TESTS)),
    st.text(max_size=20) | st.sampled_from(["d01", "d1", "D01", "d01 ", "d", "%", "d__", "d0|d01", "", "|", "d01|d01"]),
)
@example("=", "' or 1=1 --")
@example("=", '" or 1=1 --')
@example("in", "d01') or ('1'='1|d02")
@example("prefix", "d%'; drop table m.disk; --")
@example("=", "d01\x00")
@example("in", "d01\x00|d02")
@example("prefix", "?")
@example("=", "$1")
def test_any_text_in_where_is_only_ever_a_value(store: Store, operator: str, value: str) -> None:
    try:
        rows = store.query(ask(aggregate="count", where=(("device", operator, value),), group_by=("device",))).rows
    except BadQuery:
        return
    assert {row.tags[0] for row in rows} == chosen(operator, value)


@pytest.mark.parametrize("operator", TESTS)
def test_text_that_is_no_unicode_is_a_bad_query_or_only_ever_a_value(store: Store, operator: str) -> None:
    value = "d01|\ud800|d02\udfff"
    with suppress(BadQuery):
        rows = store.query(ask(aggregate="count", where=(("device", operator, value),), group_by=("device",))).rows
        assert {row.tags[0] for row in rows} == chosen(operator, value)


@pytest.mark.parametrize("limit", [20, 2**31, 2**63, 10**30])
def test_a_limit_of_any_size_gives_all_rows_or_is_a_bad_query(store: Store, limit: int) -> None:
    with suppress(BadQuery):
        assert len(store.query(ask(group_by=("device",), limit=limit)).rows) == 20


@pytest.mark.parametrize("across", [None, "mean"])
def test_a_tag_asked_for_twice_is_told_twice_or_is_a_bad_query(store: Store, across: str | None) -> None:
    with suppress(BadQuery):
        rows = store.query(ask(group_by=("school", "school"), across=across)).rows
        assert [row.tags for row in rows] == [(school, school) for school in sorted(SCHOOLS)]


@pytest.mark.parametrize(
    "what", [{"group_by": ("used",)}, {"where": (("used", "=", "1"),)}, {"group_by": ("nothing",)}]
)
def test_a_field_or_nothing_in_place_of_a_tag_is_a_bad_query_that_names_the_tags(store: Store, what: Any) -> None:
    with pytest.raises(BadQuery, match="device, kind, path, room, school"):
        store.query(ask(**what))
