"""Devices: enrolled once by however many ask, altered, revoked, retired, listed in pages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from atonce import at_once
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from schoolpulse_collector.registry import Refused, Registry, audit, credential, devices
from schoolpulse_collector.registry.model import Audit, Device, RevokedCertificate


def device(registry: Registry, device_id: str = "d1") -> Device:
    found = registry.device(device_id)
    assert found
    return found


def noted(registry: Registry, subject: str) -> list[str]:
    with registry.read() as session:
        return [row.action for row in audit.rows(session) if row.subject == subject]


# Enrolling.


def test_enrolling_gives_a_secret_of_which_only_the_hash_is_kept(registry: Registry, tmp_path: Path) -> None:
    secret = registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    assert credential.matches(secret, device(registry).secret_hash)
    with registry.read() as session:
        assert secret not in "".join(session.scalars(select(Audit.detail)))
    registry.close()
    assert not [path for path in tmp_path.iterdir() if secret.encode() in path.read_bytes()]


def test_enrolling_again_gives_a_new_secret_and_keeps_the_id(registry: Registry) -> None:
    first = registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    enrolled = device(registry).enrolled
    second = registry.enrol("d1", "s2", "r2", "Máy 1b", "server")
    assert registry.count_devices() == 1
    found = device(registry)
    assert (found.school, found.room, found.name, found.kind) == ("s2", "r2", "Máy 1b", "server")
    assert credential.matches(second, found.secret_hash)
    assert not credential.matches(first, found.secret_hash)
    assert found.enrolled == enrolled
    assert noted(registry, "device:d1") == ["device.add", "device.renew"]


def test_enrolling_a_revoked_device_makes_it_active_again(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    registry.revoke("d1")
    assert device(registry).status == "revoked"
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    assert device(registry).status == "active"


@pytest.mark.parametrize(("school", "room"), [("nowhere", "nowhere"), ("s1", "nowhere"), ("nowhere", None)])
def test_a_device_of_an_unknown_school_or_room_is_refused(registry: Registry, school: str, room: str | None) -> None:
    with pytest.raises((IntegrityError, Refused)), registry.change("person:an") as change:
        devices.put(change, "d1", school, room, "Máy 1", "lab_pc")
    assert registry.count_devices() == 0
    assert noted(registry, "device:d1") == []


def test_a_room_of_another_school_is_refused(registry: Registry) -> None:
    with pytest.raises(Refused, match="room r2 is not in school s1"):
        registry.enrol("d1", "s1", "r2", "Máy 1", "lab_pc")
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    with pytest.raises(Refused, match="room r2"), registry.change("person:an") as change:
        devices.alter(change, change.session.get_one(Device, "d1"), room="r2")
    assert device(registry).room == "r1"


def test_devices_may_be_enrolled_from_many_threads_at_once(registry: Registry) -> None:
    results = at_once(20, lambda number: registry.enrol(f"d{number}", "s1", "r1", "M", "lab_pc"))
    assert all(isinstance(secret, str) for secret in results), results
    assert registry.count_devices() == 20


def test_enrolling_one_id_from_many_threads_at_once_makes_one_device_with_one_of_the_secrets(
    registry: Registry,
) -> None:
    results = at_once(20, lambda _: registry.enrol("d1", "s1", "r1", "M", "lab_pc"))
    assert all(isinstance(secret, str) for secret in results), results
    kept = device(registry).secret_hash
    assert [credential.matches(str(secret), kept) for secret in results].count(True) == 1
    assert sorted(noted(registry, "device:d1")) == ["device.add"] + ["device.renew"] * 19


# Changing.


def test_altering_changes_what_differs_and_says_what_was_before(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    with registry.change("person:an") as change:
        devices.alter(change, change.session.get_one(Device, "d1"), name="Máy 2", kind="lab_pc", asset_code="TS-0007")
    with registry.change("person:an") as change:  # nothing differs: nothing is noted
        devices.alter(change, change.session.get_one(Device, "d1"), name="Máy 2")
    found = device(registry)
    assert (found.name, found.kind, found.asset_code) == ("Máy 2", "lab_pc", "TS-0007")
    assert noted(registry, "device:d1") == ["device.add", "device.alter"]
    with registry.read() as session:
        row = list(audit.rows(session))[-1]
    assert row.detail == (
        '{"after": {"asset_code": "TS-0007", "name": "Máy 2"}, "before": {"asset_code": "", "name": "Máy 1"}}'
    )
    assert (row.actor, row.school, row.t) == ("person:an", "s1", found.changed)


def test_a_device_that_moves_to_another_school_leaves_its_room(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "Máy 1", "lab_pc")
    with registry.change("person:an") as change:
        devices.alter(change, change.session.get_one(Device, "d1"), school="s2")
    assert (device(registry).school, device(registry).room) == ("s2", None)
    with registry.change("person:an") as change:
        devices.alter(change, change.session.get_one(Device, "d1"), school="s1", room="r1")
    assert (device(registry).school, device(registry).room) == ("s1", "r1")


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_who_is_not_active_any_more_loses_certificate_and_rekey(registry: Registry, status: str) -> None:
    with registry.change("person:an") as change:
        devices.put(change, "d1", "s1", None, "M", "lab_pc")
        device_row = change.session.get(Device, "d1")
        assert device_row
        device_row.certificate, device_row.rekey_until, device_row.rekey_uses = "0a1b", change.now + 1000, 3
    with registry.change("person:an") as change:
        devices.set_status(change, "d1", status)
        devices.set_status(change, "d1", status)
    found = device(registry)
    assert (found.status, found.certificate, found.rekey_until) == (status, "", 0)
    assert noted(registry, "device:d1") == ["device.add", f"device.{status}"]
    with registry.read() as session:
        gone = session.scalars(select(RevokedCertificate)).one()
    assert (gone.serial, gone.device, gone.revoked) == ("0a1b", "d1", found.changed)
    assert gone.expires - gone.revoked == devices.CERTIFICATE_DAYS * devices.DAY


def test_revoking_an_unknown_device_is_no_error(registry: Registry) -> None:
    registry.revoke("nobody")
    assert registry.device("nobody") is None


# Asking.


def test_changed_since_tells_what_was_enrolled_or_revoked_since(registry: Registry) -> None:
    for name in ("d1", "d2", "d3"):
        registry.enrol(name, "s1", "r1", name, "lab_pc")
    time.sleep(0.005)
    mark = int(time.time() * 1000)
    assert registry.changed_since(mark) == []
    registry.revoke("d2")
    registry.enrol("d4", "s1", "r1", "d4", "lab_pc")
    assert {row.id for row in registry.changed_since(mark)} == {"d2", "d4"}
    assert {row.id for row in registry.changed_since(0)} == {"d1", "d2", "d3", "d4"}


def test_a_change_at_the_very_mark_is_told(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "d1", "lab_pc")
    (found,) = registry.changed_since(0)
    assert len(registry.changed_since(found.changed)) == 1
    assert registry.changed_since(found.changed + 1) == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text("0129abZ-_ếĐ", min_size=1, max_size=4), max_size=12), st.integers(1, 5))
def test_pages_cover_every_device_once_in_one_order(registry: Registry, ids: set[str], limit: int) -> None:
    with registry.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("delete from device"))
    with registry.change("system") as change:
        for name in ids:
            devices.put(change, name, "s1", "r1", name, "lab_pc")
    found, after = list[str](), ""
    while page := registry.devices(after=after, limit=limit):
        assert len(page) <= limit
        found += [row.id for row in page]
        after = found[-1]
    assert sorted(found) == sorted(ids)
    assert found == [row.id for row in registry.devices()]


def test_devices_are_listed_and_counted_by_school(registry: Registry) -> None:
    for number in range(5):
        registry.enrol(f"d{number}", "s1" if number % 2 else "s2", "r1" if number % 2 else "r2", "M", "lab_pc")
    assert [row.id for row in registry.devices(["s1"])] == ["d1", "d3"]
    assert [row.id for row in registry.devices({"s1", "s2", "s3"}, after="d1")] == ["d2", "d3", "d4"]
    assert [row.id for row in registry.devices(["s2"], after="d0", limit=1)] == ["d2"]
    assert registry.devices([]) == []
    counts = [registry.count_devices(schools) for schools in (["s1"], ["s2"], ["s3"], ["s1", "s2"], [], None)]
    assert counts == [2, 3, 0, 5, 0, 5]


def test_more_schools_may_be_asked_for_than_a_city_has(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "M", "lab_pc")
    many = [f"x{number}" for number in range(5_000)] + ["s1"]
    assert [row.id for row in registry.devices(many)] == ["d1"]
    assert registry.count_devices(many) == 1
