"""The roster: admits the registry's active devices, follows its changes, and outlives a registry that is down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from running import PostgreSQL, wait_until
from sqlalchemy import text

from schoolpulse_collector import roster as module
from schoolpulse_collector.registry import Registry, RegistryDown, credential, devices
from schoolpulse_collector.registry.model import Device, Room, School
from schoolpulse_collector.roster import Roster, Sender

SOON = 1.5  # seconds


def with_places(registry: Registry) -> Registry:
    places = (Room(key="r", school="s", name="P1"), Room(key="q", school="s", name="P2"))
    registry.put(School(key="s", name="Trường"), *places)
    return registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = with_places(Registry(f"sqlite:///{tmp_path}/registry.sqlite"))
    yield made
    made.close()


def test_a_known_device_comes_with_the_tags_of_its_place(registry: Registry) -> None:
    with registry.change("system") as change:
        secret = devices.put(change, "d1", "s", "r", "Máy 1", "lab_pc", hardware="0123456789abcdef")
        devices.put(change, "d2", "s", None, "Máy 2", "server")
    roster = Roster(registry)
    sender = roster.get("d1")
    assert sender
    assert sender[:5] + sender[6:] == ("d1", "s", "r", "lab_pc", True, "0123456789abcdef", False)
    assert credential.matches(secret, sender.secret_hash)
    without_room = roster.get("d2")
    assert without_room
    assert (without_room.room, without_room.kind, without_room.hardware) == ("", "server", "")


@pytest.mark.parametrize("stranger", ["d2", "", "D1", "d1 ", "%", "collector"])
def test_an_unknown_device_is_nobody(registry: Registry, stranger: str) -> None:
    secret = registry.enrol("d1", "s", "r", "Máy 1", "lab_pc")
    roster = Roster(registry)
    assert roster.get(stranger) is None
    assert not roster.admits(stranger, secret)


def test_only_the_right_secret_is_admitted(registry: Registry) -> None:
    secret, other = (registry.enrol(device, "s", "r", device, "lab_pc") for device in ("d1", "d2"))
    roster = Roster(registry)
    assert roster.admits("d1", secret)
    assert roster.admits("d2", other)
    for wrong in (other, "", secret[:-1], secret + "x", secret.swapcase(), credential.digest(secret), "Đ"):
        assert not roster.admits("d1", wrong)


@pytest.mark.parametrize("kept", ["", "$6$", "rubbish"])
def test_a_device_without_a_proper_secret_is_never_admitted(registry: Registry, kept: str) -> None:
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    with registry.engine.begin() as connection:
        connection.execute(text("update device set secret_hash = :kept"), {"kept": kept})
    assert not Roster(registry).admits("d1", "")
    assert not Roster(registry).admits("d1", kept)


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_who_is_not_active_any_more_is_out_within_about_a_second(registry: Registry, status: str) -> None:
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.admits("d1", secret)
    with registry.change("person:an") as change:
        devices.set_status(change, "d1", status)
    wait_until(lambda: roster.get("d1") is None, SOON, status)
    assert not roster.admits("d1", secret)
    assert [sender.active for sender in roster.all()] == [False]
    assert not Roster(registry).admits("d1", secret)


def test_a_new_device_a_new_secret_and_a_move_are_seen_within_about_a_second(registry: Registry) -> None:
    old = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.admits("d1", old)
    new = registry.enrol("d1", "s", "q", "d1", "lab_pc")
    registry.enrol("d2", "s", "q", "d2", "lab_pc")
    wait_until(lambda: roster.admits("d1", new) and roster.get("d2"), SOON, "the changes")
    assert not roster.admits("d1", old)
    sender = roster.get("d1")
    assert sender
    assert sender.room == "q"


# Following.


def test_following_tells_each_change_once_with_what_was_before(registry: Registry) -> None:
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    ((nothing, first),) = roster.changes()
    assert nothing is None
    assert first.id == "d1"
    assert roster.changes() == []
    registry.enrol("d1", "s", "q", "d1", "lab_pc")
    ((before, after),) = roster.changes()
    assert before == first
    assert after.room == "q"
    assert after.secret_hash != first.secret_hash
    registry.revoke("d1")
    assert roster.changes() == [(after, after._replace(active=False))]
    with registry.change("person:an") as change:  # of no concern to who may send
        devices.alter(change, change.session.get_one(Device, "d1"), name="Máy mới", asset_code="TS-1")
    assert roster.changes() == []


def test_a_change_that_somebody_elses_look_saw_first_is_told_all_the_same(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    ((_, first),) = roster.changes()
    registry.revoke("d1")
    wait_until(lambda: roster.get("d1") is None, SOON, "the revocation")
    assert roster.changes() == [(first, first._replace(active=False))]
    registry.enrol("d2", "s", "r", "d2", "lab_pc")
    wait_until(lambda: roster.get("d2"), SOON, "the new device")
    registry.revoke("d2")
    ((before, after),) = roster.changes()
    assert (before, after.id, after.active) == (None, "d2", False)


def test_what_was_changed_and_changed_back_is_not_told(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH", 0.05)
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    roster.changes()
    for room in ("q", "r"):
        with registry.change("person:an") as change:
            devices.alter(change, change.session.get_one(Device, "d1"), room=room)
        wait_until(lambda room=room: (s := roster.get("d1")) and s.room == room, SOON, "the move")
    assert roster.changes() == []


# Clocks and long transactions.


def test_a_change_by_hand_with_a_clock_seconds_behind_is_still_seen(registry: Registry) -> None:
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.admits("d1", secret)
    late = int(time.time() * 1000) - 5000
    with registry.engine.begin() as connection:
        connection.exec_driver_sql(f"update device set status = 'revoked', changed = {late}")
    wait_until(lambda: roster.get("d1") is None, SOON, "the revocation")


@pytest.mark.parametrize("hours", [-9, 9])
def test_a_change_with_another_clock_or_that_took_hours_is_seen(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    registry.enrol("d2", "s", "r", "d2", "lab_pc")
    roster = Roster(registry)
    assert len(roster.changes()) == 2
    instant = int(time.time() * 1000) + hours * 3_600_000
    with monkeypatch.context() as patch:
        patch.setattr("schoolpulse_collector.registry.now", lambda: instant)
        registry.revoke("d1")
    registry.revoke("d2")
    assert {new.id for _, new in roster.changes()} == {"d1", "d2"}
    assert roster.changes() == []


# A registry that is down.


def test_a_registry_that_was_never_seen_makes_calls_fail(registry: Registry) -> None:
    roster = Roster(registry)
    with registry.engine.begin() as connection:
        connection.execute(text("alter table device rename to gone"))
    for call in (lambda: roster.get("d1"), roster.follow, roster.all):
        with pytest.raises(RegistryDown):
            call()


def test_while_the_registry_is_down_everybody_stays_as_last_seen_and_then_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.02)
    monkeypatch.setattr(module, "RETRY", 0.02)
    server = PostgreSQL()
    registry = with_places(Registry(server.url))
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    registry.enrol("d2", "s", "r", "d2", "lab_pc")
    registry.revoke("d2")
    roster = Roster(registry)
    roster.changes()
    server.kill()
    with caplog.at_level(logging.ERROR):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert roster.admits("d1", secret)
            assert roster.get("d2") is None
            assert roster.get("stranger") is None
            assert roster.changes() == []
    (line,) = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert server.password not in line
    assert "as they were last seen" in line
    server.start()
    registry.revoke("d1")
    wait_until(lambda: roster.get("d1") is None, SOON, "the revocation")
    ((before, after),) = roster.changes()
    assert before
    assert (before.active, after.active) == (True, False)
    registry.close()
    server.stop()


def test_nobody_waits_for_another_ones_look(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.get("d1")
    hanging, goes_on = threading.Event(), threading.Event()
    ask = devices.changed

    def hang(*asked: Any) -> Sequence[Any]:
        hanging.set()
        assert goes_on.wait(20)
        return ask(*asked)

    monkeypatch.setattr(devices, "changed", hang)
    monkeypatch.setattr(roster, "_whole_at", 0.0)
    follower = threading.Thread(target=roster.follow)
    follower.start()
    assert hanging.wait(10)
    monkeypatch.setattr(roster, "_fresh_until", 0.0)
    found: list[Sender | None] = []
    asker = threading.Thread(target=lambda: found.append(roster.get("d1")))
    asker.start()
    asker.join(10)
    assert found
    goes_on.set()
    follower.join(10)
