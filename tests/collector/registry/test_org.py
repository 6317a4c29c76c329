"""Schools, units, rooms and memberships in a real SQLite file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from schoolpulse_collector.registry import Change, Refused, Registry, audit, org
from schoolpulse_collector.registry.model import Audit, Device, Membership, Room, School

DAY = "2026-11-24"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A city with a ward, a cluster and another ward; s1 is in ward and cluster, s2 in the other ward."""
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    with made.change("person:lan") as change:
        org.put_unit(change, "city", "Thành phố", "city")
        for key, kind in (("w1", "ward"), ("w2", "ward"), ("c1", "cluster")):
            org.put_unit(change, key, f"Đơn vị {key}", kind, "city")
        org.put_school(change, "s1", "Trường Một", level="THCS", latitude="10,5")
        org.put_school(change, "s2", "Trường Hai")
        org.join(change, "s1", "w1")
        org.join(change, "s1", "c1", "2025-10-01")
        org.join(change, "s2", "w2")
        org.put_room(change, "r1", "s1", "Phòng máy 1")
    yield made
    made.close()


def do(registry: Registry, work: Callable[[Change], Any]) -> Any:
    with registry.change("person:lan") as change:
        return work(change)


def below(registry: Registry, *units: str, day: str = DAY) -> set[str]:
    with registry.read() as session:
        return org.schools_below(session, units, day)


def last_note(registry: Registry) -> tuple[str, str, str, Any]:
    with registry.read() as session:
        assert audit.verify(session)[2] is None
        row = session.scalars(select(Audit).order_by(Audit.seq.desc())).first()
        assert row
        return row.action, row.subject, row.school, json.loads(row.detail)


def test_a_school_is_below_its_ward_its_cluster_and_what_is_above_them(registry: Registry) -> None:
    assert below(registry, "w1") == below(registry, "c1") == {"s1"}
    assert below(registry, "w1", "w2") == below(registry, "city") == {"s1", "s2"}
    assert below(registry) == below(registry, "nowhere") == set()
    with registry.read() as session:
        assert [unit.key for unit in org.units_of(session, "s1", DAY)] == ["c1", "w1"]
        assert org.members(session, DAY) == {"w1": {"s1"}, "c1": {"s1"}, "w2": {"s2"}}


def test_a_membership_begins_on_its_first_day_and_ends_before_its_last(registry: Registry) -> None:
    do(registry, lambda change: org.leave(change, "s1", "c1", "1/2/2026"))
    days = ("2025-09-30", "2025-10-01", "2026-01-31", "2026-02-01")
    assert [below(registry, "c1", day=day) for day in days] == [set(), {"s1"}, {"s1"}, set()]
    do(registry, lambda change: org.join(change, "s1", "c1", "2026-02-01"))
    assert below(registry, "c1") == {"s1"}


def test_memberships_of_one_school_in_one_unit_never_overlap(registry: Registry) -> None:
    for start, end in (("", ""), ("2024-01-01", ""), ("2026-01-01", "2026-02-01"), ("", "2025-10-02")):
        with pytest.raises(Refused, match="valid_from"):
            do(registry, lambda change, start=start, end=end: org.join(change, "s1", "c1", start, end))
    do(registry, lambda change: org.join(change, "s1", "c1", "", "2025-10-01"))


def test_leaving_on_the_day_of_joining_leaves_nothing_and_leaving_what_one_is_not_in_is_refused(
    registry: Registry,
) -> None:
    do(registry, lambda change: org.leave(change, "s1", "c1", "2025-10-01"))
    assert last_note(registry)[:2] == ("membership.remove", "membership:s1/c1")
    assert below(registry, "c1") == set()
    with pytest.raises(Refused, match="không thuộc"):
        do(registry, lambda change: org.leave(change, "s1", "c1", "2025-10-02"))


@pytest.mark.parametrize("day", ["31/02/2026", "24/11/26", "yesterday", "2026-1-1", "0202-01-01"])
def test_a_day_that_is_none_is_refused_by_the_field_s_name(registry: Registry, day: str) -> None:
    with pytest.raises(Refused, match=r"^valid_from: "):
        do(registry, lambda change: org.join(change, "s2", "c1", day))


def test_renaming_is_one_row_audited_with_before_and_after(registry: Registry) -> None:
    do(registry, lambda change: org.rename_school(change, "s1", "  Trường Mới "))
    assert last_note(registry) == (
        "school.rename", "school:s1", "s1", {"before": {"name": "Trường Một"}, "after": {"name": "Trường Mới"}},
    )  # fmt: skip
    do(registry, lambda change: org.rename_unit(change, "w1", "Phường Mới"))
    assert last_note(registry)[:2] == ("unit.rename", "unit:w1")
    with registry.read() as session:
        unit = org.units_of(session, "s1", DAY)[1]
    assert (unit.name, unit.parent, unit.kind) == ("Phường Mới", "city", "ward")
    with pytest.raises(Refused, match=r"^key: "):
        do(registry, lambda change: org.rename_school(change, "nowhere", "Tên"))


def test_putting_the_same_again_is_no_change_and_no_audit_row(registry: Registry) -> None:
    with registry.read() as session:
        before = session.scalar(select(func.count()).select_from(Audit))
    do(registry, lambda change: org.put_school(change, "s1", "Trường Một", level="thcs", latitude=10.5))
    do(registry, lambda change: org.put_unit(change, "w1", "Đơn vị w1", "ward", "city"))
    do(registry, lambda change: org.put_room(change, "r1", "s1", "Phòng máy 1"))
    do(registry, lambda change: org.join(change, "s1", "w1"))
    with registry.read() as session:
        assert session.scalar(select(func.count()).select_from(Audit)) == before


@pytest.mark.parametrize("key", ["", " ", "a b", "trường", "a/b", "a+b", "a#", "x" * 65, "s1\x00", "a\nb"])
def test_a_key_that_topics_can_not_carry_is_refused(registry: Registry, key: str) -> None:
    with pytest.raises(Refused, match=r"^key: "):
        do(registry, lambda change: org.put_school(change, key, "Tên"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "a\x1b[31m", "a\u202eb", "x" * 201, "#REF!"])
def test_a_name_that_is_empty_long_or_unprintable_is_refused(registry: Registry, name: str) -> None:
    for put in (
        lambda change: org.put_school(change, "new", name),
        lambda change: org.put_unit(change, "new", name, "ward"),
        lambda change: org.put_room(change, "new", "s1", name),
    ):
        with pytest.raises(Refused, match=r"^name: "):
            do(registry, put)


def test_fields_that_are_wrong_are_refused_by_name_and_nothing_stays(registry: Registry) -> None:
    for field, value in (
        ("level", "đại học"), ("latitude", "106,7"), ("latitude", float("nan")), ("longitude", "x"), ("nosuch", "x"),
        ("isp", "a\x00"), ("merged_into", "s2"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=rf"^{field}: "):
            do(registry, lambda change, f=field, v=value: org.put_school(change, "new", "Tên", **{f: v}))
    with pytest.raises(Refused, match=r"^kind: "):
        do(registry, lambda change: org.put_unit(change, "new", "Tên", "planet"))
    with registry.read() as session:
        assert session.get(School, "new") is None


def test_units_never_form_a_circle(registry: Registry) -> None:
    for work in (
        lambda change: org.put_unit(change, "city", "Thành phố", "city", "w1"),
        lambda change: org.put_unit(change, "city", "Thành phố", "city", "city"),
        lambda change: org.merge_unit(change, "city", "w1"),
        lambda change: org.put_unit(change, "w3", "Ba", "ward", "nowhere"),
    ):
        with pytest.raises(Refused, match=r"^parent: "):
            do(registry, work)


def test_a_merged_unit_s_schools_belong_to_the_unit_that_took_it_over(registry: Registry) -> None:
    do(registry, lambda change: org.merge_unit(change, "w1", "w2"))
    assert last_note(registry)[3] == {"before": {"parent": "city"}, "after": {"parent": "w2"}}
    assert below(registry, "w2") == {"s1", "s2"}
    assert below(registry, "w1") == {"s1"}


def test_a_room_stays_in_its_school(registry: Registry) -> None:
    with pytest.raises(Refused, match=r"^school: "):
        do(registry, lambda change: org.put_room(change, "r1", "s2", "Phòng"))
    with pytest.raises(Refused, match=r"^school: "):
        do(registry, lambda change: org.put_room(change, "r2", "nowhere", "Phòng"))


def test_merging_a_school_is_one_row_moves_nothing_and_is_read_as_the_school_that_has_it_now(
    registry: Registry,
) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    do(registry, lambda change: org.merge_school(change, "s1", "s2"))
    assert last_note(registry) == (
        "school.merge", "school:s1", "s1", {"before": {"merged_into": None}, "after": {"merged_into": "s2"}},
    )  # fmt: skip
    assert below(registry, "w2") == {"s1", "s2"}, "who sees s2 sees what was s1"
    assert below(registry, "w1") == below(registry, "c1") == set()
    with registry.read() as session:
        assert org.keys_of(session, "s2") == {"s1", "s2"}
        assert [unit.key for unit in org.units_of(session, "s1", DAY)] == ["w2"]
        assert org.members(session, DAY) == {"w2": {"s1", "s2"}}
        device, room = session.get(Device, "d1"), session.get(Room, "r1")
        assert device and room and device.school == room.school == "s1"
        assert session.scalar(select(func.count()).select_from(Membership)) == 3
    do(registry, lambda change: org.merge_school(change, "s1", None))
    assert below(registry, "w1") == {"s1"}


def test_a_school_merged_twice_over_is_found_with_the_last(registry: Registry) -> None:
    do(registry, lambda change: org.put_school(change, "s3", "Trường Ba"))
    do(registry, lambda change: org.merge_school(change, "s1", "s2"))
    do(registry, lambda change: org.merge_school(change, "s2", "s3"))
    do(registry, lambda change: org.join(change, "s3", "c1"))
    assert below(registry, "c1") == {"s1", "s2", "s3"}
    assert below(registry, "w2") == set()
    for key, into in (("s3", "s1"), ("s3", "s3"), ("s1", "s2"), ("s1", "nowhere"), ("nowhere", "s1")):
        with pytest.raises(Refused):
            do(registry, lambda change, key=key, into=into: org.merge_school(change, key, into))
