"""The set of reports that have arrived: it knows each (device, epoch, seq) and can be written down and read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_collector.received import Received

KEYS = st.tuples(st.sampled_from(["d1", "d2", "máy-3"]), st.sampled_from([0, 7, 2**32 - 1]), st.integers(1, 60))


def test_a_report_is_known_once_it_was_added() -> None:
    received = Received()
    assert ("d1", 7, 1) not in received
    received.add("d1", 7, 1)
    assert ("d1", 7, 1) in received


@pytest.mark.parametrize("other", [("d2", 7, 5), ("d1", 8, 5), ("d1", 7, 4), ("d1", 7, 6)])
def test_another_device_epoch_or_seq_is_another_report(other: tuple[str, int, int]) -> None:
    assert other not in Received([("d1", 7, 5, 5)])


def test_of_tells_the_ranges_of_one_epoch_only() -> None:
    received = Received([("d1", 7, 1, 60), ("d1", 7, 70, 70), ("d1", 8, 1, 9), ("d2", 7, 100, 200)])
    assert list(received.of("d1", 7)) == [(1, 60), (70, 70)]
    assert list(received.of("d3", 7)) == []


def test_asking_for_what_never_arrived_adds_nothing() -> None:
    received = Received()
    received.of("d1", 7).add(1, 9)
    assert ("d1", 7, 1) not in received
    assert list(received.rows([("d1", 7)])) == []


def test_three_days_of_reports_in_order_cost_one_row() -> None:
    received = Received()
    for seq in range(1, 4321):
        received.add("d1", 7, seq)
    assert list(received.rows([("d1", 7)])) == [("d1", 7, 1, 4320)]


def test_rows_are_those_of_the_keys_asked_for() -> None:
    received = Received([("d1", 7, 1, 2), ("d1", 8, 3, 4), ("d2", 7, 5, 6)])
    assert list(received.rows([("d2", 7), ("d1", 8)])) == [("d2", 7, 5, 6), ("d1", 8, 3, 4)]


@given(st.lists(KEYS))
def test_a_set_that_was_written_down_and_read_again_is_the_same_set(added: list[tuple[str, int, int]]) -> None:
    received = Received()
    for key in added:
        received.add(*key)
    rows = list(received.rows({(device, epoch) for device, epoch, _ in added}))
    again = Received(rows)
    assert {(d, e, seq) for d, e, first, last in rows for seq in range(first, last + 1)} == set(added)
    assert sum(last - first + 1 for _, _, first, last in rows) == len(set(added))  # no seq in two rows
    assert all(key in again for key in added)
