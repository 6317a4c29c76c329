"""The agent watches what it costs, and gives way."""

from __future__ import annotations

import pytest

from schoolpulse_agent import probe
from schoolpulse_agent.footprint import REPORTS, STRETCH_MAX, Footprint, cpu_seconds, resident
from schoolpulse_agent.settings import Limits

MB = 2**20


class Machine:
    """A clock, and an agent that uses so many seconds of CPU a report and so much memory."""

    def __init__(self, each: float = 0.0, memory: int = 20 * MB, **limits: float) -> None:
        self.now, self.used, self.each, self.memory = 1000.0, 5.0, each, memory
        self.watch = Footprint(Limits(**limits), lambda: self.now, lambda: self.used, lambda: self.memory)

    def reports(self, count: int, interval: float = 60.0) -> dict[str, float]:
        for _ in range(count):
            said = self.watch.look()
            self.now += interval * self.watch.stretch
            self.used += self.each
        return said


def test_what_it_says_stands_in_the_agents_own_metrics() -> None:
    assert {("agent", field) for field in Machine().reports(1)} <= set(probe.OWN_METRICS)


def test_the_use_of_the_processor_is_a_share_of_one_over_the_last_reports() -> None:
    assert Machine(each=0.6).reports(5)["cpu_usage"] == pytest.approx(1.0)


def test_what_the_start_took_is_no_use() -> None:
    assert Machine().reports(3)["cpu_usage"] == 0.0


def test_within_its_limit_it_keeps_its_interval() -> None:
    machine = Machine(each=0.59, cpu_percent=1.0)
    assert machine.reports(100)["stretch"] == 1.0


def test_past_its_limit_it_reports_so_much_less_often_that_it_stays_below() -> None:
    machine = Machine(each=1.8, cpu_percent=1.0)  # three times what it may
    machine.reports(REPORTS)
    assert machine.watch.stretch == 1.0  # one dear report is no reason
    said = machine.reports(3 * REPORTS)
    assert said["stretch"] == pytest.approx(3.6)
    assert said["cpu_usage"] <= 1.0


def test_it_never_falls_silent() -> None:
    assert Machine(each=60.0).reports(100)["stretch"] == STRETCH_MAX


def test_when_it_costs_little_again_it_comes_back_to_its_interval() -> None:
    machine = Machine(each=6.0)
    machine.reports(50)
    assert machine.watch.stretch == STRETCH_MAX
    machine.each = 0.01
    assert machine.reports(100)["stretch"] == 1.0


def test_too_much_memory_ends_it_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(memory=40 * MB, memory_mb=64)
    machine.reports(2)
    assert not machine.watch.too_large
    machine.memory = 65 * MB
    machine.reports(2)
    assert machine.watch.too_large
    assert len(caplog.messages) == 1


def test_a_limit_below_what_it_needs_at_once_does_not_end_it_at_every_start() -> None:
    machine = Machine(memory=30 * MB, memory_mb=24)
    machine.reports(3)
    assert not machine.watch.too_large
    machine.memory = 46 * MB  # but what has grown is made small again
    machine.reports(1)
    assert machine.watch.too_large


def test_this_process_has_used_cpu_and_holds_memory() -> None:
    assert cpu_seconds() > 0
    assert MB < resident() < 4096 * MB
