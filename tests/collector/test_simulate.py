"""The simulated lab: what it sends is what real agents may send."""

from __future__ import annotations

import pytest

from schoolpulse_agent import wire
from schoolpulse_agent.probe import metrics
from schoolpulse_collector.simulate import LabPC

START = 1_795_449_600.0


class Clock:
    """A clock that a minute passes on at every reading."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        self.now += 60
        return self.now


def day(number: int) -> list[wire.Groups]:
    """A school day of one PC."""
    pc = LabPC(number, Clock())
    return [pc.read() for _ in range(600)]


@pytest.mark.parametrize("number", [0, 1, 17, 39])
def test_every_reading_passes_the_wire(number: int) -> None:
    for seq, groups in enumerate(day(number), 1):
        sent = wire.encode_report(wire.Report(seq, 1_795_449_600_000 + seq, 60.0 * seq, groups))
        batch = wire.decode(wire.encode(7, 1, [sent]))
        assert batch.refused == []
        assert batch.reports[0].m == groups


@pytest.mark.parametrize("number", [0, 39])
def test_it_measures_only_what_a_real_probe_may_measure(number: int) -> None:
    known = metrics()
    said = {
        (wire.split_group(key)[0], field)
        for groups in day(number)
        for key, fields in groups.items()
        for field in fields
    }
    assert said <= known.keys()
    assert len(said) > 10


@pytest.mark.parametrize("number", range(0, 40, 5))
def test_percentages_stay_between_0_and_100(number: int) -> None:
    known = metrics()
    for groups in day(number):
        for key, fields in groups.items():
            for field, value in fields.items():
                if known[wire.split_group(key)[0], field].unit == "%":
                    assert 0 <= value <= 100


def test_counters_never_go_back() -> None:
    for field in ("bytes_sent", "bytes_recv"):
        values = [groups["net,interface=Ethernet"][field] for groups in day(3)]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_the_same_pc_at_the_same_times_says_the_same_and_another_does_not() -> None:
    assert day(5) == day(5)
    assert day(5) != day(6)


def test_uptime_counts_from_when_it_was_made() -> None:
    uptimes = [groups["system"]["uptime"] for groups in day(1)]
    assert uptimes[:3] == [60.0, 120.0, 180.0]
