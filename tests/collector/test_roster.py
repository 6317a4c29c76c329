"""The roster: admits exactly the registry's active devices, and follows its changes within about a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import wait_until

from schoolpulse_collector.registry import Registry, digest
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.roster import Roster, Sender

SOON = 1.5  # seconds


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    made.put(School(key="s", name="Trường"), Room(key="r", school="s", name="P1"), Room(key="q", school="s", name="P2"))
    yield made
    made.close()


def test_a_known_device_comes_with_the_tags_of_its_place(registry: Registry) -> None:
    secret = registry.enrol("d1", "s", "r", "Máy 1", "lab_pc")
    assert Roster(registry).get("d1") == Sender("d1", "s", "r", "lab_pc", True, digest(secret))


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
    for wrong in (other, "", secret[:-1], secret + "x", secret.swapcase(), digest(secret), "Đ"):
        assert not roster.admits("d1", wrong)


def test_a_device_without_a_secret_is_never_admitted(registry: Registry) -> None:
    registry.enrol("d1", "s", "r", "d1", "lab_pc")
    with registry.engine.begin() as connection:
        connection.exec_driver_sql("update device set secret_hash = ''")
    assert not Roster(registry).admits("d1", "")


def test_a_revocation_is_seen_within_about_a_second(registry: Registry) -> None:
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.admits("d1", secret)
    registry.revoke("d1")
    wait_until(lambda: roster.get("d1") is None, SOON, "the revocation")
    assert not roster.admits("d1", secret)


def test_a_revoked_device_is_not_admitted_by_a_new_roster(registry: Registry) -> None:
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    registry.revoke("d1")
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


def test_a_change_whose_writer_has_a_clock_seconds_behind_is_still_seen(registry: Registry) -> None:
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    roster = Roster(registry)
    assert roster.admits("d1", secret)
    late = int(time.time() * 1000) - 5000
    with registry.engine.begin() as connection:
        connection.exec_driver_sql(f"update device set status = 'revoked', changed = {late}")
    wait_until(lambda: roster.get("d1") is None, SOON, "the revocation")
