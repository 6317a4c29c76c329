"""The registry: schools, rooms, devices and tokens in a real SQLite file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from schoolpulse_collector.registry import Registry, RegistryDown, digest
from schoolpulse_collector.registry.model import Base, Room, School


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = with_places(Registry(f"sqlite:///{tmp_path}/registry.sqlite"))
    yield made
    made.close()


def with_places(registry: Registry) -> Registry:
    registry.put(School(key="s1", name="Trường Tiểu học Đống Đa"), School(key="s2", name="Trường THCS Cầu Giấy"))
    registry.put(Room(key="r1", school="s1", name="Phòng máy 1"), Room(key="r2", school="s2", name="Phòng máy 2"))
    return registry


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Results, or errors, of so many threads that start at the same instant."""
    start, results = threading.Barrier(count), list[object]()

    def run(number: int) -> None:
        start.wait()
        try:
            results.append(work(number))
        except Exception as why:
            results.append(why)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# Tables.


def test_the_migrations_make_exactly_the_tables_and_columns_of_the_models(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_reopening_keeps_the_data(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    registry = with_places(Registry(url))
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    token = registry.issue_token("api", "script")
    registry.close()
    registry = Registry(url)
    assert [school.key for school in registry.schools()] == ["s2", "s1"]
    assert [room.name for room in registry.rooms("s1")] == ["Phòng máy 1"]
    device = registry.device("d1")
    assert device
    assert (device.school, device.room, device.name, device.kind, device.status) == (
        "s1", "r1", "Máy 1", "lab_pc", "active",
    )  # fmt: skip
    assert registry.token_is_good(token, "api")
    registry.close()


def test_a_database_that_can_not_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match="missing") as raised:
        Registry(f"sqlite:///{tmp_path}/missing/registry.sqlite")
    assert "unable to open" in str(raised.value)


def test_a_file_that_is_no_database_is_a_registry_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"This is no SQLite file. " * 100)
    with pytest.raises(RegistryDown):
        Registry(f"sqlite:///{tmp_path}/registry.sqlite")


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://user:geheim@127.0.0.1:1/x",
        "sqlite+nosuch:///geheim",
        "postgresql://user:geheim@127.0.0.1:port/x",
        "nonsense geheim",
        "",
    ],
)
def test_a_url_that_names_no_database_is_a_registry_that_is_down_and_shows_no_password(url: str) -> None:
    with pytest.raises(RegistryDown) as raised:
        Registry(url)
    assert "geheim" not in str(raised.value)


# Schools and rooms.


def test_putting_a_school_again_renames_it(registry: Registry) -> None:
    registry.put(School(key="s1", name="Trường mới"))
    assert {school.key: school.name for school in registry.schools()} == {
        "s1": "Trường mới",
        "s2": "Trường THCS Cầu Giấy",
    }


def test_a_room_and_its_school_may_come_in_one_call(registry: Registry) -> None:
    registry.put(School(key="s3", name="Ba"), Room(key="r3", school="s3", name="P"))
    assert [room.key for room in registry.rooms("s3")] == ["r3"]
    assert registry.rooms("s4") == []


def test_a_room_of_an_unknown_school_is_refused_and_nothing_of_the_call_stays(registry: Registry) -> None:
    with pytest.raises(IntegrityError):
        registry.put(School(key="s3", name="Ba"), Room(key="r9", school="nowhere", name="P"))
    assert registry.rooms("nowhere") == []
    assert len(registry.schools()) == 2


# Devices.


def test_enrolling_gives_a_secret_of_which_only_the_hash_is_kept(registry: Registry, tmp_path: Path) -> None:
    secret = registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    device = registry.device("d1")
    assert device
    assert device.secret_hash == digest(secret)
    registry.close()
    assert not [path for path in tmp_path.iterdir() if secret.encode() in path.read_bytes()]


def test_enrolling_again_gives_a_new_secret_and_keeps_the_id(registry: Registry) -> None:
    first = registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    second = registry.enrol("d1", "s2", "r2", "Máy 1b", "server")
    assert first != second
    assert registry.count_devices() == 1
    device = registry.device("d1")
    assert device
    assert (device.secret_hash, device.school, device.name) == (digest(second), "s2", "Máy 1b")


def test_enrolling_a_revoked_device_makes_it_active_again(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    registry.revoke("d1")
    device = registry.device("d1")
    assert device
    assert device.status == "revoked"
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    device = registry.device("d1")
    assert device
    assert device.status == "active"


def test_revoking_an_unknown_device_is_no_error(registry: Registry) -> None:
    registry.revoke("nobody")
    assert registry.device("nobody") is None


def test_a_device_of_an_unknown_school_or_room_is_refused(registry: Registry) -> None:
    with pytest.raises(IntegrityError):
        registry.enrol("d1", "nowhere", "r1", "Máy 1", "lab_pc")
    assert registry.count_devices() == 0


def test_devices_may_be_enrolled_from_many_threads_at_once(registry: Registry) -> None:
    results = at_once(20, lambda number: registry.enrol(f"d{number}", "s1", "r1", "M", "lab_pc"))
    assert all(isinstance(secret, str) for secret in results), results
    assert registry.count_devices() == 20


def test_enrolling_one_id_from_many_threads_at_once_makes_one_device_with_one_of_the_secrets(
    registry: Registry,
) -> None:
    results = at_once(20, lambda _: registry.enrol("d1", "s1", "r1", "M", "lab_pc"))
    assert all(isinstance(secret, str) for secret in results), results
    device = registry.device("d1")
    assert device
    assert device.secret_hash in [digest(str(secret)) for secret in results]


def test_changed_since_tells_what_was_enrolled_or_revoked_since(registry: Registry) -> None:
    for device in ("d1", "d2", "d3"):
        registry.enrol(device, "s1", "r1", device, "lab_pc")
    time.sleep(0.005)
    mark = int(time.time() * 1000)
    assert registry.changed_since(mark) == []
    registry.revoke("d2")
    registry.enrol("d4", "s1", "r1", "d4", "lab_pc")
    assert {device.id for device in registry.changed_since(mark)} == {"d2", "d4"}
    assert {device.id for device in registry.changed_since(0)} == {"d1", "d2", "d3", "d4"}


def test_a_change_at_the_very_mark_is_told(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "d1", "lab_pc")
    (device,) = registry.changed_since(0)
    assert len(registry.changed_since(device.changed)) == 1
    assert registry.changed_since(device.changed + 1) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text("0129abZ-_", min_size=1, max_size=4), max_size=12), st.integers(1, 5))
def test_pages_cover_every_device_once_in_the_order_of_ids(registry: Registry, ids: set[str], limit: int) -> None:
    with registry.engine.begin() as connection:
        connection.execute(text("delete from device"))
    for device in ids:
        registry.enrol(device, "s1", "r1", device, "lab_pc")
    found, after = list[str](), ""
    while page := registry.devices(after=after, limit=limit):
        assert len(page) <= limit
        assert page[0].id > after
        found += [device.id for device in page]
        after = found[-1]
    assert found == sorted(ids)


def test_devices_are_listed_and_counted_by_school(registry: Registry) -> None:
    for number in range(5):
        registry.enrol(f"d{number}", "s1" if number % 2 else "s2", "r1" if number % 2 else "r2", "M", "lab_pc")
    assert [device.id for device in registry.devices("s1")] == ["d1", "d3"]
    assert [device.id for device in registry.devices("s2", after="d0", limit=1)] == ["d2"]
    assert (registry.count_devices("s1"), registry.count_devices("s2"), registry.count_devices("s3")) == (2, 3, 0)
    assert registry.count_devices() == 5


# Tokens.


def test_a_token_is_good_for_its_purpose_only(registry: Registry) -> None:
    token = registry.issue_token("api", "script", 60)
    assert registry.token_is_good(token, "api")
    assert not registry.token_is_good(token, "session")
    assert registry.token_is_good(token, "api")


@pytest.mark.parametrize("wrong", ["", "spk_", "spk_" + "A" * 43, "' or 1=1 --"])
def test_what_was_never_issued_is_no_token(registry: Registry, wrong: str) -> None:
    registry.issue_token("api", "script")
    assert not registry.token_is_good(wrong, "api")
    assert not registry.spend_token(wrong, "api")


def test_the_hash_of_a_token_is_no_token(registry: Registry) -> None:
    assert not registry.token_is_good(digest(registry.issue_token("api", "script")), "api")


def test_a_token_expires(registry: Registry) -> None:
    token = registry.issue_token("sign_in", "link", 0.2)
    assert registry.token_is_good(token, "sign_in")
    time.sleep(0.25)
    assert not registry.token_is_good(token, "sign_in")
    assert not registry.spend_token(token, "sign_in")


def test_expired_tokens_are_cleared_away_and_the_others_stay(registry: Registry) -> None:
    registry.issue_token("session", "old", 0.001)
    lasting, forever = registry.issue_token("session", "b", 60), registry.issue_token("api", "c")
    time.sleep(0.005)
    registry.issue_token("api", "d", 60)
    assert registry.token_is_good(lasting, "session")
    assert registry.token_is_good(forever, "api")
    with registry.engine.connect() as connection:
        assert sorted(connection.scalars(text("select label from token"))) == ["b", "c", "d"]


def test_a_spent_token_is_gone(registry: Registry) -> None:
    token = registry.issue_token("sign_in", "link", 60)
    assert not registry.spend_token(token, "api")
    assert registry.spend_token(token, "sign_in")
    assert not registry.spend_token(token, "sign_in")
    assert not registry.token_is_good(token, "sign_in")


def test_a_token_is_spent_exactly_once_by_twenty_threads_at_once(registry: Registry) -> None:
    for _ in range(3):
        token = registry.issue_token("sign_in", "link", 60)
        results = at_once(20, lambda _, token=token: registry.spend_token(token, "sign_in"))
        assert sorted(results, key=bool) == [False] * 19 + [True]
