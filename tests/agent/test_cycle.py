"""A cycle reads what is due, lets no probe stop another, and returns what the wire takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schoolpulse_agent import wire
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.wire import Groups, Report, encode, encode_report

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


class Fake:
    """A probe that yields what it is given, then raises if told to."""

    def __init__(self, *readings: Any, every: float = 0.0, error: Exception | None = None) -> None:
        self.readings, self.every, self.error = readings, every, error
        self.reads = 0

    def read(self) -> Iterator[Any]:
        self.reads += 1
        yield from self.readings
        if self.error:
            raise self.error


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(groups: Groups) -> Groups:
    """Without what the cycle says of its probes."""
    return {key: fields for key, fields in groups.items() if not key.startswith("probe,")}


def passes_the_wire(groups: Groups) -> bool:
    batch = wire.decode(encode(1, 1, [encode_report(Report(1, 1, 1.0, groups))]))
    return [report.m for report in batch.reports] == [groups]


LOAD = Reading("load", {}, {"one": 0.5})


def test_readings_come_as_groups_with_one_of_each_probe() -> None:
    fans = Fake(*(Reading("fan", {"name": name}, {"rpm": 900}) for name in ("front", "a,b=c")))
    groups = Cycle({"load": Fake(LOAD), "fan": fans}).read()
    assert told(groups) == {"load": {"one": 0.5}, "fan,name=front": {"rpm": 900.0}, r"fan,name=a\,b\=c": {"rpm": 900.0}}
    for name in ("load", "fan"):
        said = groups[f"probe,probe={name}"]
        assert said["up"] == 1.0
        assert 0 <= said["seconds"] < 5
    assert passes_the_wire(groups)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError(), RecursionError(), MemoryError(), StopIteration()])
def test_a_raising_probe_keeps_what_it_yielded_and_stops_no_other(error: Exception) -> None:
    groups = Cycle({"a": Fake(LOAD), "b": Fake(Reading("b", {}, {"x": 1}), error=error), "c": Fake(LOAD)}).read()
    assert told(groups) == {"load": {"one": 0.5}, "b": {"x": 1.0}}
    assert [groups[f"probe,probe={name}"]["up"] for name in "abc"] == [1.0, 0.0, 1.0]
    assert passes_the_wire(groups)


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        7,
        Reading("b", {}, {"x": "text"}),  # type: ignore[dict-item]
        Reading("b", {}, {"x": None}),  # type: ignore[dict-item]
        Reading("b", {}, {"x": 10**400}),
        Reading("b", {"tag": 7}, {"x": 1}),  # type: ignore[dict-item]
        Reading("b", {}, None),  # type: ignore[arg-type]
    ],
)
def test_a_probe_that_yields_nonsense_has_failed(nonsense: object) -> None:
    groups = Cycle({"b": Fake(nonsense), "c": Fake(LOAD)}).read()
    assert told(groups) == {"load": {"one": 0.5}}
    assert groups["probe,probe=b"]["up"] == 0.0


def test_a_probe_whose_read_is_no_generator_and_raises_has_failed() -> None:
    class Broken:
        every = 0.0

        def read(self) -> Iterator[Reading]:
            raise OSError("at once")

    assert Cycle({"broken": Broken()}).read()["probe,probe=broken"]["up"] == 0.0


def test_a_failing_probe_is_logged_when_it_begins_to_fail_and_not_at_every_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = Fake(LOAD)
    cycle = Cycle({"fan": probe})
    logged = []
    for error in (None, OSError("gone"), OSError("gone"), None, OSError("gone")):
        probe.error = error
        caplog.clear()
        assert cycle.read()["probe,probe=fan"]["up"] == (0.0 if error else 1.0)
        logged.append(len(caplog.messages))
    assert logged == [0, 1, 0, 0, 1]


def test_a_probe_is_read_when_its_seconds_have_passed() -> None:
    clock = Clock()
    always, seldom = Fake(LOAD), Fake(Reading("disk", {}, {"x": 1}), every=300)
    cycle = Cycle({"always": always, "seldom": seldom}, clock)
    for minute in range(11):
        clock.now = 60.0 * minute
        groups = cycle.read()
        due = minute % 5 == 0
        assert ("disk" in groups, "probe,probe=seldom" in groups) == (due, due)
    assert (always.reads, seldom.reads) == (11, 3)


def test_a_failing_probe_waits_its_seconds_too() -> None:
    clock = Clock()
    probe = Fake(every=300, error=OSError())
    cycle = Cycle({"seldom": probe}, clock)
    for clock.now in (0, 60, 240, 300, 360):
        cycle.read()
    assert probe.reads == 2


def test_priming_reads_every_probe_and_the_first_report_has_them_all_the_same() -> None:
    clock = Clock()
    probe = Fake(LOAD, every=300)
    cycle = Cycle({"seldom": probe}, clock)
    cycle.prime()
    assert probe.reads == 1
    assert told(cycle.read()) == {"load": {"one": 0.5}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_left_out(value: float) -> None:
    groups = Cycle({"p": Fake(Reading("a", {}, {"x": value, "y": 1}), Reading("b", {}, {"x": value}))}).read()
    assert told(groups) == {"a": {"y": 1.0}}
    assert groups["probe,probe=p"]["up"] == 1.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Phòng máy", "Phòng máy"),
        ("a\nb\x00c", "a?b?c"),
        ("a\u00a0b\u200bc", "a?b?c"),
        ("\ud800", "?"),
        ("C:\\", "C:\\"),
        ("x" * 200, "x" * 128),
    ],
)
def test_a_tag_that_can_not_be_shown_is_cleaned(value: str, shown: str) -> None:
    groups = Cycle({"p": Fake(Reading("disk", {"path": value}, {"x": 1}))}).read()
    (key,) = told(groups)
    assert wire.split_group(key) == ("disk", (("path", shown),))
    assert passes_the_wire(groups)


def test_an_empty_tag_is_left_out() -> None:
    assert told(Cycle({"p": Fake(Reading("disk", {"path": "/", "label": ""}, {"x": 1}))}).read()) == {
        "disk,path=/": {"x": 1.0}
    }


readings = st.builds(
    Reading,
    st.sampled_from(["cpu", "disk"]),
    st.dictionaries(st.sampled_from(["path", "name", "label"]), st.text(st.characters()) | st.text(r"\,= ")),
    st.dictionaries(st.sampled_from(["x", "y", "used_percent"]), st.floats(width=32) | st.integers() | st.booleans()),
)


@calm
@given(st.lists(st.lists(readings, max_size=4), min_size=1, max_size=3), st.booleans())
def test_whatever_it_returns_passes_the_wire(given: list[list[Reading]], failing: bool) -> None:
    error = OSError() if failing else None
    assert passes_the_wire(Cycle({f"p{n}": Fake(*some, error=error) for n, some in enumerate(given)}).read())
