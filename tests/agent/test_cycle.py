"""A cycle reads what is due, lets no probe stop another, and returns what the wire takes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import wait_until

from schoolpulse_agent import wire
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.wire import Groups, Report, encode, encode_report

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


class Fake:
    """A probe that yields what it is given, then raises if told to."""

    def __init__(self, *readings: Any, every: float = 0.0, error: BaseException | None = None) -> None:
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


def cycle_of(probes: dict[str, Any], clock: Callable[[], float] = time.monotonic) -> Cycle:
    """Probes of no file, whose readings stand in no table."""
    return Cycle(probes, clock, listed=lambda _name, _reading: True)


LOAD = Reading("load", {}, {"one": 0.5})


def test_readings_come_as_groups_with_one_of_each_probe() -> None:
    fans = Fake(*(Reading("fan", {"name": name}, {"rpm": 900}) for name in ("front", "a,b=c")))
    groups = cycle_of({"load": Fake(LOAD), "fan": fans}).read()
    assert told(groups) == {"load": {"one": 0.5}, "fan,name=front": {"rpm": 900.0}, r"fan,name=a\,b\=c": {"rpm": 900.0}}
    for name in ("load", "fan"):
        said = groups[f"probe,probe={name}"]
        assert said["up"] == 1.0
        assert 0 <= said["seconds"] < 5
    assert passes_the_wire(groups)


@pytest.mark.parametrize(
    "error", [OSError("gone"), ValueError(), RecursionError(), MemoryError(), StopIteration(), SystemExit(1)]
)
def test_a_raising_probe_keeps_what_it_yielded_and_stops_no_other(error: BaseException) -> None:
    groups = cycle_of({"a": Fake(LOAD), "b": Fake(Reading("b", {}, {"x": 1}), error=error), "c": Fake(LOAD)}).read()
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
    groups = cycle_of({"b": Fake(nonsense), "c": Fake(LOAD)}).read()
    assert told(groups) == {"load": {"one": 0.5}}
    assert groups["probe,probe=b"]["up"] == 0.0


def test_a_probe_whose_read_is_no_generator_and_raises_has_failed() -> None:
    class Broken:
        every = 0.0

        def read(self) -> Iterator[Reading]:
            raise OSError("at once")

    assert cycle_of({"broken": Broken()}).read()["probe,probe=broken"]["up"] == 0.0


def test_a_failing_probe_is_logged_when_it_begins_to_fail_and_not_at_every_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = Fake(LOAD)
    cycle = cycle_of({"fan": probe})
    logged = []
    for error in (None, OSError("gone"), OSError("gone"), None, OSError("gone")):
        probe.error = error
        caplog.clear()
        said = cycle.read().get("probe,probe=fan", {"up": 1.0})  # what goes on working is not told each time
        assert said["up"] == (0.0 if error else 1.0)
        logged.append(len(caplog.messages))
    assert logged == [0, 1, 0, 0, 1]


def test_a_probe_is_read_when_its_seconds_have_passed() -> None:
    clock = Clock()
    always, seldom = Fake(LOAD), Fake(Reading("disk", {}, {"x": 1}), every=300)
    cycle = cycle_of({"always": always, "seldom": seldom}, clock)
    for minute in range(11):
        clock.now = 60.0 * minute
        assert ("disk" in cycle.read()) == (minute % 5 == 0)
    assert (always.reads, seldom.reads) == (11, 3)


def test_a_failing_probe_waits_its_seconds_too() -> None:
    clock = Clock()
    probe = Fake(every=300, error=OSError())
    cycle = cycle_of({"seldom": probe}, clock)
    for clock.now in (0, 60, 240, 300, 360):
        cycle.read()
    assert probe.reads == 2


def test_priming_reads_every_probe_and_the_first_report_has_them_all_the_same() -> None:
    clock = Clock()
    probe = Fake(LOAD, every=300)
    cycle = cycle_of({"seldom": probe}, clock)
    cycle.prime()
    assert probe.reads == 1
    assert told(cycle.read()) == {"load": {"one": 0.5}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_left_out(value: float) -> None:
    groups = cycle_of({"p": Fake(Reading("a", {}, {"x": value, "y": 1}), Reading("b", {}, {"x": value}))}).read()
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
    groups = cycle_of({"p": Fake(Reading("disk", {"path": value}, {"x": 1}))}).read()
    (key,) = told(groups)
    assert wire.split_group(key) == ("disk", (("path", shown),))
    assert passes_the_wire(groups)


def test_a_machine_with_hundreds_of_disks_still_gets_its_report_past_the_centre() -> None:
    many = {
        f"p{number}": Fake(*(Reading(f"m{number}", {"n": str(n)}, {"x": 1, "y": 2}) for n in range(1500)))
        for number in range(9)
    }
    groups = cycle_of({**many, "load": Fake(LOAD)}).read()
    assert passes_the_wire(groups)
    assert "m0,n=0" in groups and groups["probe,probe=p0"]["up"] == 0.0
    assert passes_the_wire(cycle_of({"p0": many["p0"], "load": Fake(LOAD)}).read())
    assert cycle_of({"p0": many["p0"], "load": Fake(LOAD)}).read()["load"] == {"one": 0.5}


def test_an_empty_tag_is_left_out() -> None:
    assert told(cycle_of({"p": Fake(Reading("disk", {"path": "/", "label": ""}, {"x": 1}))}).read()) == {
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
    assert passes_the_wire(cycle_of({f"p{n}": Fake(*some, error=error) for n, some in enumerate(given)}).read())


def test_a_probe_that_goes_on_working_says_so_each_quarter_of_an_hour_and_a_failing_one_at_every_report() -> None:
    clock, probe = Clock(), Fake(LOAD)
    cycle = cycle_of({"load": probe}, clock)
    told_at = []
    for minute in range(40):
        clock.now = 60.0 * minute
        probe.error = OSError("gone") if 20 <= minute < 23 else None
        if "probe,probe=load" in cycle.read():
            told_at.append(minute)
    assert told_at == [0, 15, 20, 21, 22, 23, 38]


class Slow(Fake):
    """A probe whose read takes until it is let go."""

    patience = 2.0

    def __init__(self) -> None:
        super().__init__(LOAD)
        self.go = threading.Event()

    def read(self) -> Iterator[Any]:
        self.reads += 1
        self.go.wait(20)
        yield LOAD


def test_a_probe_that_hangs_is_called_stuck_stops_no_other_and_is_read_again_when_it_ends() -> None:
    clock, slow, other = Clock(), Slow(), Fake(Reading("b", {}, {"x": 1}))
    cycle = cycle_of({"slow": slow, "b": other}, clock)
    assert told(cycle.read()) == {"b": {"x": 1.0}}
    clock.now = 60.0
    groups = cycle.read()
    assert told(groups) == {"b": {"x": 1.0}}
    assert groups["probe,probe=slow"] == {"up": 0.0, "seconds": 60.0, "stuck": 1.0}
    assert slow.reads == 1  # one thread that hangs is enough
    slow.go.set()
    wait_until(lambda: not cycle._running["slow"]._running.locked(), 5, "its thread has ended")
    clock.now = 120.0
    groups = cycle.read()
    assert groups["load"] == {"one": 0.5}
    assert groups["probe,probe=slow"]["up"] == 1.0
    clock.now = 180.0
    cycle.read()
    assert slow.reads == 2


def test_where_no_thread_can_be_started_the_report_comes_without_that_probe_and_it_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    clock, slow = Clock(), Slow()
    slow.go.set()
    cycle = cycle_of({"slow": slow, "b": Fake(Reading("b", {}, {"x": 1}))}, clock)
    with monkeypatch.context() as without:
        without.setattr("_thread.start_new_thread", full)
        groups = cycle.read()
    assert told(groups) == {"b": {"x": 1.0}} and groups["probe,probe=slow"]["up"] == 0.0
    clock.now = 60.0
    groups = cycle.read()
    assert groups["load"] == {"one": 0.5} and groups["probe,probe=slow"]["up"] == 1.0


def test_what_does_not_stand_in_a_probes_tables_is_never_let_out(caplog: pytest.LogCaptureFixture) -> None:
    good = Reading("swap", {}, {"used": 1.0})
    for bad in (
        Reading("swap", {}, {"used": 1.0, "user_name": 2.0}),
        Reading("swap", {"user": "nguyenvana"}, {"used": 1.0}),
        Reading("windows", {}, {"used": 1.0}),
    ):
        with caplog.at_level(logging.WARNING):
            groups = Cycle({"swap": Fake(good, bad)}).read()
        assert told(groups) == {"swap": {"used": 1.0}}
        assert groups["probe,probe=swap"]["up"] == 0.0
        assert "tables" in caplog.text


def test_an_elected_probe_is_read_only_where_the_centre_says_so_or_the_settings() -> None:
    probe = Fake(LOAD)
    probe.elected = True  # type: ignore[attr-defined]
    cycle = cycle_of({"load": probe})
    assert cycle.read() == {}
    cycle.duties = frozenset({"load"})
    assert "load" in cycle.read()
    cycle.duties = frozenset()
    assert cycle.read() == {}
    probe.always = True  # type: ignore[attr-defined]
    assert "load" in cycle.read()


@dataclass
class Step:
    """A probe with a setting and a memory."""

    every: float = 0.0
    skip: str = ""
    last: int = field(default=0, init=False)

    def read(self) -> Iterator[Reading]:
        self.last += 1
        yield Reading("step", {}, {"last": self.last})


def test_new_settings_change_only_the_probes_that_they_change() -> None:
    cycle = cycle_of({"same": Step(), "other": Step()})
    cycle.read()
    cycle.change({"same": Step(), "other": Step(skip="x"), "third": Step()})
    assert {name: probe.last for name, probe in cycle.probes.items()} == {"same": 1, "other": 0, "third": 0}
    cycle.change({"third": Step()})
    assert list(cycle.probes) == ["third"]
