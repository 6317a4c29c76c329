"""A sender's time: right whatever its machine's clock does, once the centre has said its own."""

from __future__ import annotations

import pytest

from schoolpulse_agent.wallclock import FAR, WallClock

T = 1_795_449_600_000


class Machine:
    """A machine whose clock and uptime a test moves."""

    def __init__(self, wall: float = T / 1000) -> None:
        self.wall, self.up = wall, 100.0
        self.clock = WallClock(lambda: self.wall, lambda: self.up)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


def test_time_goes_on_with_uptime() -> None:
    machine = Machine()
    assert machine.clock.now() == T
    machine.wait(60)
    assert machine.clock.now() == T + 60_000


@pytest.mark.parametrize("step", [-7200.0, -1.0, 3600.0, -1_795_000_000.0])
def test_a_step_of_the_machines_clock_changes_no_time(step: float) -> None:
    machine = Machine()
    machine.clock.learn(T)
    machine.wall += step
    machine.wait(60)
    assert machine.clock.now() == T + 60_000
    assert machine.clock.learn(T + 60_000) == 0
    assert machine.clock.offset_ms == -step * 1000  # but it is told


@pytest.mark.parametrize("wrong", [-1_795_000_000.0, 400_000_000.0, -60.0, FAR / 1000 + 1])
def test_a_clock_that_is_far_off_is_corrected_by_what_the_centre_says(wrong: float) -> None:
    machine = Machine(T / 1000 + wrong)
    before = machine.clock.now()
    moved = machine.clock.learn(T)
    assert machine.clock.settled and moved == -wrong * 1000
    assert before + moved == T  # so what was measured before gets its right time
    machine.wait(1)
    assert machine.clock.now() == T + 1000


def test_a_receipt_that_was_long_on_its_way_moves_nothing() -> None:
    machine = Machine()
    machine.clock.learn(T)
    machine.wait(FAR / 1000)
    assert machine.clock.learn(T) == 0
    assert machine.clock.now() == T + FAR


def test_no_two_reports_in_a_row_have_the_same_millisecond() -> None:
    machine = Machine()
    assert [machine.clock.now() for _ in range(2)] == [T, T + 1]
