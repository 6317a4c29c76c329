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


# What is lost.


@pytest.mark.parametrize(
    ("arrived", "low", "lost"),
    [
        ([], 1, 0),
        ([1, 2, 3], 4, 0),
        ([1, 3], 4, 1),
        ([5], 3, 2),  # 3 and 4 are only late
        ([1, 2, 9], 3, 0),
        ([1, 2, 3], 2, 0),
        ([], 101, 100),
    ],
)
def test_what_did_not_arrive_is_lost_once_its_sender_holds_it_no_more(arrived: list[int], low: int, lost: int) -> None:
    received = Received(("d1", 7, seq, seq) for seq in arrived)
    received.held_from("d1", 7, low, 0)
    assert received.losses() == ({"d1": lost} if lost else {})


def test_what_arrives_after_all_is_not_lost() -> None:
    received = Received([("d1", 7, 1, 1)])
    received.held_from("d1", 7, 3, 0)
    assert received.losses() == {"d1": 1}
    received.add("d1", 7, 2)
    received.held_from("d1", 7, 3, 0)
    assert received.losses() == {}


def test_an_older_message_that_comes_later_takes_back_nothing() -> None:
    received = Received([("d1", 7, 5, 9)])
    received.held_from("d1", 7, 5, 0)
    received.held_from("d1", 7, 2, 0)
    assert received.losses() == {"d1": 4}
    assert list(received.lows([("d1", 7)])) == [("d1", 7, 5, 0)]


def test_losses_of_all_epochs_of_a_device_are_added_and_devices_are_told_apart() -> None:
    received = Received(
        [("d1", 7, 2, 2), ("d3", 1, 1, 9)], [("d1", 7, 3, 0), ("d1", 8, 5, 0), ("d2", 7, 2, 0), ("d3", 1, 10, 0)]
    )
    assert received.losses() == {"d1": 1 + 4, "d2": 1}


@given(st.lists(st.tuples(KEYS, st.integers(1, 70)), max_size=30))
def test_losses_are_what_lies_below_the_highest_low_and_never_arrived(
    messages: list[tuple[tuple[str, int, int], int]],
) -> None:
    received, lows = Received(), dict[tuple[str, int], int]()
    for (device, epoch, seq), low in messages:
        received.add(device, epoch, seq)
        received.held_from(device, epoch, low, 0)
        lows[device, epoch] = max(low, lows.get((device, epoch), 1))
    arrived = {key for key, _ in messages}
    lost = {device: 0 for device, _ in lows}
    for (device, epoch), low in lows.items():
        lost[device] += sum((device, epoch, seq) not in arrived for seq in range(1, low))
    assert received.losses() == {device: count for device, count in lost.items() if count}
    again = Received(received.rows(lows), received.lows(lows))
    assert again.losses() == received.losses()


def test_epochs_not_heard_for_long_are_forgotten_with_all_that_is_known_of_them() -> None:
    received = Received([("d1", 1, 5, 9), ("d1", 2, 1, 3)], [("d1", 1, 5, 1000), ("d1", 2, 1, 2000)])
    assert received.losses() == {"d1": 4}
    assert received.forget(2000) == [("d1", 1)]
    assert ("d1", 1, 5) not in received and ("d1", 2, 1) in received
    assert received.losses() == {} and received.forget(2000) == []


def test_a_late_message_does_not_make_an_epoch_look_older() -> None:
    received = Received()
    for heard in (3000, 1000):
        received.add("d1", 1, 1)
        received.held_from("d1", 1, 1, heard)
    assert received.forget(3000) == []
    received.held_from("d1", 2, 1, 4000)
    assert received.forget(3001) == [("d1", 1)]
