"""The registry: opens a database of either kind, says what is wrong with one, and comes back when it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PostgreSQL
from sqlalchemy.exc import IntegrityError

from schoolpulse_collector.registry import Registry, RegistryDown, database, devices
from schoolpulse_collector.registry.model import Room, School


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgreSQL]:
    """A server that these tests may kill."""
    running = PostgreSQL()
    yield running
    running.stop()


def test_reopening_keeps_the_data(copied: str, registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    registry.close()
    registry = Registry(copied)
    assert {school.key: school.name for school in registry.schools()} == {
        "s1": "Trường Tiểu học Đống Đa",
        "s2": "Trường THCS Cầu Giấy",
    }
    assert [room.name for room in registry.rooms(["s1"])] == ["Phòng máy 1"]
    device = registry.device("d1")
    assert device
    found = (device.school, device.room, device.name, device.kind, device.status)
    assert found == ("s1", "r1", "Máy 1", "lab_pc", "active")
    registry.close()


# What can't be opened.


def test_a_database_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match="missing") as raised:
        Registry(f"sqlite:///{tmp_path}/missing/registry.sqlite")
    assert "unable to open" in str(raised.value)


def test_a_file_that_is_no_database_is_a_registry_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"This is no SQLite file. " * 100)
    with pytest.raises(RegistryDown, match="not a database"):
        Registry(f"sqlite:///{tmp_path}/registry.sqlite")


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://user:geheim@127.0.0.1:1/x",
        "sqlite+nosuch:///geheim",
        "postgresql://user:geheim@127.0.0.1:port/x",
        "postgresql://user:geheim@127.0.0.1:1/x",
        "postgres://user@127.0.0.1:1/x?password=geheim",
        "postgresql://user:un@geheim@127.0.0.1:1/x",
        "postgresql://user:%67eheim@127.0.0.1:1/x?nosuch=geheim",
        "nonsense geheim",
        "",
    ],
)
def test_a_url_that_leads_nowhere_is_a_registry_that_is_down_and_shows_no_password(url: str) -> None:
    with pytest.raises(RegistryDown) as raised:
        Registry(url)
    assert "geheim" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_password_is_said_and_not_shown(postgresql: PostgreSQL) -> None:
    right = postgresql.url.split(":")[2].split("@")[0]
    with pytest.raises(RegistryDown, match="password authentication failed") as raised:
        Registry(postgresql.url.replace(right, "geheim"))
    assert "geheim" not in str(raised.value)


def test_a_database_that_does_not_keep_unicode_is_refused(postgresql: PostgreSQL) -> None:
    url = postgresql.database("encoding 'SQL_ASCII' locale_provider 'libc' locale 'C' template template0")
    with pytest.raises(RegistryDown, match="encoding 'UTF8'"):
        Registry(url)


# A database that goes away and comes back.


def test_a_database_that_is_killed_is_a_registry_that_is_down_until_it_is_back(mortal: PostgreSQL) -> None:
    registry = Registry(mortal.database())
    registry.put(School(key="s1", name="Một"))
    mortal.kill()
    for call in (registry.schools, lambda: registry.put(School(key="s2", name="Hai"))):
        with pytest.raises(RegistryDown, match="a retry may help") as raised:
            call()
        assert mortal.password not in str(raised.value)
    mortal.start()
    assert [school.name for school in registry.schools()] == ["Một"]
    registry.put(School(key="s2", name="Hai"))
    mortal.kill()
    mortal.start()
    assert len(registry.schools()) == 2  # who did not ask meanwhile notices nothing
    registry.close()


def test_a_change_in_whose_middle_the_database_is_killed_leaves_nothing(mortal: PostgreSQL) -> None:
    registry = Registry(mortal.database())
    with pytest.raises(RegistryDown), registry.change("person:an") as change:
        change.session.add(School(key="s1", name="Một"))
        change.session.flush()
        mortal.kill()
    mortal.start()
    assert registry.schools() == []
    registry.close()


def test_an_error_shows_none_of_the_values_that_were_to_be_written(registry: Registry) -> None:
    with pytest.raises(IntegrityError) as raised, registry.change("system") as change:
        devices.put(change, "d1", "nowhere", None, "geheim", "lab_pc")
    assert "geheim" not in str(raised.value)


# Schools and rooms.


def test_putting_a_school_again_renames_it_and_keeps_the_rest(registry: Registry) -> None:
    registry.put(School(key="s1", name="Trường cũ", code="79000001"))
    registry.put(School(key="s1", name="Trường mới"))
    found = {school.key: (school.name, school.code) for school in registry.schools()}
    assert found == {"s1": ("Trường mới", "79000001"), "s2": ("Trường THCS Cầu Giấy", "")}


def test_a_room_and_its_school_may_come_in_one_call(registry: Registry) -> None:
    registry.put(School(key="s3", name="Ba"), Room(key="r3", school="s3", name="P"))
    assert [room.key for room in registry.rooms(["s3"])] == ["r3"]
    assert registry.rooms(["s4"]) == []


def test_a_room_of_an_unknown_school_is_refused_and_nothing_of_the_call_stays(registry: Registry) -> None:
    with pytest.raises(IntegrityError):
        registry.put(School(key="s3", name="Ba"), Room(key="r9", school="nowhere", name="P"))
    assert registry.rooms(["nowhere"]) == []
    assert len(registry.schools()) == 2


def test_a_change_waits_for_another_of_the_same_process_and_says_so_if_that_takes_too_long(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT", 0.1)
    with registry.change("system"), pytest.raises(RegistryDown, match="a retry may help"), registry.change("system"):
        raise AssertionError("two at once")
    registry.put(School(key="s9", name="Sau đó"))  # and nobody stays locked out
    assert [school.name for school in registry.schools(["s9", "nowhere"])] == ["Sau đó"]
