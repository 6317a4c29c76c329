"""The audit: every change is a row in an unbroken chain, and whatever is done to a row shows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from atonce import at_once, enrol_ten, in_processes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import Registry, audit, devices
from schoolpulse_collector.registry.model import Device, School

ROWS = 6
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def verified(registry: Registry) -> tuple[int, str, audit.Broken | None]:
    with registry.read() as session:
        return audit.verify(session)


@pytest.fixture
def tampered(registry: Registry) -> Registry:
    """Six rows of audit, and no triggers: they stop a mistake, not one who has the database's password."""
    for number in range(2):
        registry.enrol(f"d{number}", "s1", "r1", f"Máy {number}", "lab_pc")
    assert verified(registry)[::2] == (ROWS, None)
    with registry.engine.execution_options(writes=True).begin() as connection:
        if registry.engine.dialect.name == "sqlite":
            connection.execute(text("drop trigger audit_no_update"))
            connection.execute(text("drop trigger audit_no_delete"))
        else:
            connection.execute(text("drop trigger audit_no_change on audit"))
    return registry


def found_after(registry: Registry, *statements: str, **values: Any) -> audit.Broken | None:
    """What `verify` says with these statements done; they are undone then."""
    with registry.engine.execution_options(writes=True).connect() as connection, connection.begin() as transaction:
        for statement in statements:
            connection.execute(text(statement), values)
        broken = _verify_within(connection)
        transaction.rollback()
    assert verified(registry)[::2] == (ROWS, None)
    return broken


def _verify_within(connection: Connection) -> audit.Broken | None:
    with Session(connection) as session:
        return audit.verify(session)[2]


# What is written.


def test_a_change_is_one_row_a_note_with_the_time_of_the_change(registry: Registry) -> None:
    before = verified(registry)[0]
    with registry.change("person:an") as change:
        change.note("school.rename", "school:s1", "s1", before="Cũ", after="Mới")
        change.note("centre.look", "centre:", x=None)
    with registry.read() as session:
        first, second = audit.rows(session, after=before)
    assert (first.seq, first.t, first.actor, first.action) == (before + 1, change.now, "person:an", "school.rename")
    assert (first.subject, first.school, first.detail) == ("school:s1", "s1", '{"after": "Mới", "before": "Cũ"}')
    assert (second.seq, second.t, second.school, second.detail) == (before + 2, change.now, "", '{"x": null}')


details = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=20),
    max_size=4,
)


@quick
@given(st.lists(details, max_size=4))
def test_whatever_a_note_says_the_chain_holds(registry: Registry, notes: list[dict[str, Any]]) -> None:
    before = verified(registry)[0]
    with registry.change("person:an") as change:
        for detail in notes:
            change.notes.append(audit.Note("test", "test:x", "", detail))
    assert verified(registry)[::2] == (before + len(notes), None)


def test_an_error_in_a_change_leaves_nothing_not_even_its_notes(registry: Registry) -> None:
    before = verified(registry)
    with pytest.raises(ZeroDivisionError), registry.change("person:an") as change:
        change.session.add(School(key="s3", name="Ba"))
        change.session.flush()
        change.note("school.add", "school:s3")
        raise ZeroDivisionError
    with pytest.raises(TypeError), registry.change("person:an") as change:  # found when the notes are written
        change.session.add(School(key="s3", name="Ba"))
        change.note("school.add", "school:s3", what=object())
    with pytest.raises(IntegrityError), registry.change("person:an") as change:
        change.note("school.add", "school:s1")
        change.session.add(School(key="s1", name="noch eine"))
    assert verified(registry) == before
    assert len(registry.schools()) == 2


def test_more_rows_than_a_page_are_verified(registry: Registry) -> None:
    before = verified(registry)[0]
    with registry.change("system") as change:
        for number in range(audit.PAGE + 1):
            change.note("test", f"test:{number}")
    assert verified(registry)[::2] == (before + audit.PAGE + 1, None)


# Many at once.


def test_changes_from_many_threads_at_once_are_all_made_and_chained(registry: Registry) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            with registry.change(f"person:{number}") as change:
                devices.put(change, f"d{number}-{turn}", "s1", "r1", "M", "lab_pc")
                devices.alter(change, change.session.get_one(Device, f"d{number}-{turn}"), name="N")

    before = verified(registry)[0]
    assert at_once(24, work) == [None] * 24
    assert registry.count_devices() == 24 * 5
    assert verified(registry)[::2] == (before + 24 * 5 * 2, None)


def test_what_a_change_has_read_nobody_changes_before_it_ends(registry: Registry) -> None:
    def add_one(_: int) -> None:
        for _turn in range(5):
            with registry.change("system") as change:
                school = change.session.get(School, "s1")
                assert school
                school.code = str(int(school.code or "0") + 1)

    assert at_once(8, add_one) == [None] * 8
    assert {school.code for school in registry.schools()} == {"", "40"}


def test_changes_from_two_processes_are_all_made_and_chained(registry: Registry, copied: str) -> None:
    before = verified(registry)[0]
    assert in_processes(2, enrol_ten, copied) == [10, 10]
    assert registry.count_devices() == 20
    assert verified(registry)[::2] == (before + 20, None)


# Tampering.


@pytest.mark.parametrize("statement", ["update audit set actor = 'x'", "delete from audit where seq = 1"])
def test_the_database_itself_refuses_to_alter_or_delete_a_row(registry: Registry, statement: str) -> None:
    with (
        pytest.raises(IntegrityError, match="never changed or deleted"),
        registry.engine.execution_options(writes=True).begin() as connection,
    ):
        connection.execute(text(statement))
    assert verified(registry)[2] is None


columns = st.sampled_from(["t", "actor", "action", "subject", "school", "detail", "hash"])
values = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=16)


@quick
@given(st.integers(1, ROWS), columns, values, st.integers(0, 2**62))
def test_an_altered_column_is_found_in_its_row(
    tampered: Registry, row: int, column: str, value: str, number: int
) -> None:
    new = number if column == "t" else value
    broken = found_after(tampered, f"update audit set {column} = :new where seq = :row", new=new, row=row)
    assert broken == audit.Broken(row, f"row {row} is not as it was written")


@quick
@example(2, -(2**63))
@given(st.integers(1, ROWS), st.integers(-(2**63), 2**63 - 1).filter(lambda new: not 1 <= new <= ROWS))
def test_another_number_is_found(tampered: Registry, row: int, new: int) -> None:
    broken = found_after(tampered, "update audit set seq = :new where seq = :row", new=new, row=row)
    assert broken
    assert broken.seq == (1 if new < 1 else row)


@pytest.mark.parametrize("row", range(1, ROWS + 1))
def test_a_missing_row_is_found_at_the_start_in_the_middle_and_at_the_end(tampered: Registry, row: int) -> None:
    broken = found_after(tampered, "delete from audit where seq = :row", row=row)
    assert broken
    assert broken.seq == row
    assert "missing" in broken.why


def test_an_empty_audit_is_found(tampered: Registry) -> None:
    broken = found_after(tampered, "delete from audit")
    assert broken == audit.Broken(1, f"rows 1 to {ROWS} are missing")


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 4), (2, 5), (5, 6)])
def test_two_rows_that_changed_places_are_found(tampered: Registry, one: int, other: int) -> None:
    swap = "update audit set seq = {} where seq = {}"
    swaps = [swap.format(100, one), swap.format(one, other), swap.format(other, 100)]
    assert found_after(tampered, *swaps) == audit.Broken(one, f"row {one} is not as it was written")


def test_a_row_that_was_put_in_is_found(tampered: Registry) -> None:
    for seq in (0, -5, -(2**63), ROWS + 1):
        copied = (
            f"insert into audit select {seq}, t, actor, action, subject, school, detail, hash from audit where seq = 1"
        )
        assert found_after(tampered, copied)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from audit_head",
        "update audit_head set hash = 'x'",
        "update audit_head set seq = seq - 1",
        "update audit_head set seq = seq + 1",
        "insert into audit_head values (2, 1, 'x')",
    ],
)
def test_a_note_of_the_chains_end_that_was_altered_is_found(tampered: Registry, statement: str) -> None:
    assert found_after(tampered, statement)


def test_bytes_where_text_belongs_are_found(tampered: Registry) -> None:
    if tampered.engine.dialect.name == "sqlite":  # PostgreSQL's columns take none
        broken = found_after(tampered, "update audit set detail = x'00ff', t = 'soon' where seq = 3")
        assert broken == audit.Broken(3, "row 3 is not as it was written")
        broken = found_after(tampered, "update audit set seq = 'x' where seq = 3")
        assert broken == audit.Broken(3, "row 3 is missing")
        broken = found_after(tampered, "update audit set seq = 'x'|| seq")
        assert broken == audit.Broken(1, "row 1 is missing")


def test_each_hash_is_made_over_the_hash_before_it(registry: Registry) -> None:
    for number in range(3):
        with registry.change("person:an") as change:
            change.note("school.rename", f"school:s{number}", "s1", after="Tên")
    with registry.read() as session:
        rows = list(audit.rows(session))
    last = audit.START
    for row in rows:
        fields = [last, row.seq, row.t, row.actor, row.action, row.subject, row.school, row.detail]
        assert row.hash == hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
        last = row.hash
    assert len(rows) >= 3
