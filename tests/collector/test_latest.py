"""The table of last values: newest wins, group by group, whatever order reports come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_collector.latest import Latest
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import Last


def record(t: int, device: str = "d1", **groups: dict[str, float]) -> Record:
    return Record(device, 7, t, t, 0, "s", "r", "lab_pc", groups)


def test_a_device_that_never_reported_has_no_values() -> None:
    assert Latest().of("d1") == {}


def test_a_newer_report_takes_the_place_of_an_older_one() -> None:
    latest = Latest()
    latest.update(record(1, cpu={"usage_active": 10.0}))
    latest.update(record(2, cpu={"usage_active": 20.0}))
    assert latest.of("d1") == {"cpu": (2, {"usage_active": 20.0})}


def test_late_data_changes_nothing() -> None:
    latest = Latest()
    latest.update(record(2, cpu={"usage_active": 20.0}))
    latest.update(record(1, cpu={"usage_active": 10.0}))
    assert latest.of("d1") == {"cpu": (2, {"usage_active": 20.0})}


def test_a_group_that_a_newer_report_lacks_stays() -> None:
    latest = Latest()
    latest.update(record(1, cpu={"usage_active": 10.0}, disk={"free": 5.0}))
    latest.update(record(2, cpu={"usage_active": 20.0}))
    assert latest.of("d1") == {"cpu": (2, {"usage_active": 20.0}), "disk": (1, {"free": 5.0})}


def test_each_device_has_its_own_values() -> None:
    latest = Latest()
    latest.update(record(1, "d1", cpu={"usage_active": 10.0}))
    latest.update(record(1, "d2", cpu={"usage_active": 20.0}))
    assert latest.of("d1") == {"cpu": (1, {"usage_active": 10.0})}
    assert latest.of("d2") == {"cpu": (1, {"usage_active": 20.0})}


def test_after_a_start_it_holds_what_the_store_has_and_late_data_still_changes_nothing() -> None:
    latest = Latest([Last("d1", "cpu", 5, {"usage_active": 50.0})])
    latest.update(record(4, cpu={"usage_active": 40.0}))
    assert latest.of("d1") == {"cpu": (5, {"usage_active": 50.0})}


def test_what_was_handed_out_can_be_changed_without_changing_the_table() -> None:
    latest = Latest([Last("d1", "cpu", 5, {"usage_active": 50.0})])
    latest.of("d1").clear()
    assert latest.of("d1") == {"cpu": (5, {"usage_active": 50.0})}


@given(st.permutations(range(1, 8)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    latest = Latest()
    for t in order:
        latest.update(record(t, cpu={"usage_active": float(t)}))
    assert latest.of("d1") == {"cpu": (7, {"usage_active": 7.0})}
