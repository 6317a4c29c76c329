"""Ranges is a set of integers, however it came about."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schoolpulse_agent.ranges import Ranges

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure

NUMBERS = st.integers(-20, 60)
STEPS = st.lists(st.tuples(st.booleans(), NUMBERS, NUMBERS))


def check_form(ranges: Ranges) -> None:
    found = list(ranges)
    assert all(first <= last for first, last in found)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))  # sorted, disjoint, not adjacent


@calm
@given(STEPS)
def test_it_holds_what_a_plain_set_would_hold(steps: list[tuple[bool, int, int]]) -> None:
    ranges, plain = Ranges(), set[int]()
    for adding, first, last in steps:
        numbers = range(first, last + 1)  # empty when last < first
        if adding:
            ranges.add(first, last)
            plain.update(numbers)
        else:
            ranges.discard(first, last)
            plain.difference_update(numbers)
        check_form(ranges)
        assert list(ranges.numbers()) == sorted(plain)
        assert len(ranges) == len(plain)
        assert bool(ranges) == bool(plain)
        assert ranges.first == min(plain, default=None)
        assert {number for number in range(-25, 65) if number in ranges} == plain


@calm
@given(st.lists(st.tuples(NUMBERS, NUMBERS)))
def test_two_are_equal_when_they_hold_the_same_however_they_were_built(pairs: list[tuple[int, int]]) -> None:
    built = Ranges(pairs)
    check_form(built)
    one_by_one = Ranges()
    for first, last in reversed(pairs):
        for number in range(first, last + 1):
            one_by_one.add(number)
    assert built == one_by_one == Ranges(built)
    built.add(100)
    assert built != one_by_one


def test_iteration_is_not_disturbed_by_changes_made_meanwhile() -> None:
    ranges = Ranges([(1, 3), (10, 12), (20, 22)])
    for first, last in ranges:
        ranges.discard(first, last)
    assert not ranges


def test_a_single_number_needs_no_last() -> None:
    ranges = Ranges()
    ranges.add(7)
    assert list(ranges) == [(7, 7)]
    ranges.discard(7)
    assert list(ranges) == []


@pytest.mark.parametrize("other", [[(1, 2)], {1, 2}, None])
def test_it_equals_nothing_of_another_type(other: object) -> None:
    assert Ranges([(1, 2)]) != other


def test_three_days_in_order_cost_one_range() -> None:
    ranges = Ranges()
    for seq in range(1, 3 * 24 * 60 + 1):
        ranges.add(seq)
    assert list(ranges) == [(1, 4320)]
