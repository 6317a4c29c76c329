"""Enrolment: tokens, machines that come back, copies, keys given anew; in a real SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schoolpulse_collector.registry import Refused, Registry, audit, credential, devices, enrolment
from schoolpulse_collector.registry.enrolment import Enrolled, Hardware, NotAdmitted
from schoolpulse_collector.registry.model import Device, EnrolmentToken, RevokedCertificate, Room, School

CA = "ab" * 32
UUID, OTHER_UUID = "4c4c4544-0042-3510-8052-b4c04f4e4d32", "4c4c4544-0042-3510-8052-b4c04f4e4d33"
PC = Hardware(UUID, ("00:1b:21:aa:bb:01",), "SN1", "Dell", "OptiPlex")
OTHER = Hardware(OTHER_UUID, ("00:1b:21:aa:bb:02",))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    made.put(School(key="s1", name="Lạc Hồng"), School(key="s2", name="Đống Đa"))
    made.put(Room(key="r1", school="s1", name="Phòng máy 1"), Room(key="r2", school="s2", name="Phòng máy 2"))
    yield made
    made.close()


def token(registry: Registry, school: str = "s1", **more: object) -> str:
    with registry.change("person:t") as change:
        return enrolment.issue(change, CA, school, **more)[1]  # type: ignore[arg-type]


def enrol(registry: Registry, text: str, hardware: Hardware = PC, **more: object) -> Enrolled:
    with registry.change("device:new") as change:
        return enrolment.enrol(change, text, hardware, **more)  # type: ignore[arg-type]


def test_a_token_holds_the_cas_fingerprint_and_is_kept_as_a_hash_alone(registry: Registry) -> None:
    text = token(registry)
    assert text.startswith("spe_") and text.endswith("." + CA)
    with registry.read() as session:
        assert session.query(EnrolmentToken).one().hash == credential.digest(text)
        assert all(text not in row.detail for row in audit.rows(session))


def test_40_machines_at_once_on_a_token_for_5_come_to_exactly_5(registry: Registry) -> None:
    text, start, results = token(registry, uses=5), threading.Barrier(40), list[str]()

    def come(number: int) -> None:
        start.wait()
        try:
            results.append(enrol(registry, text, Hardware("", (f"00:1b:21:aa:cc:{number:02x}",))).device.id)
        except NotAdmitted:
            results.append("")

    threads = [threading.Thread(target=come, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in results if each]) == 5 == len(set(results) - {""}) and len(results) == 40
    assert registry.count_devices() == 5


def test_unknown_spent_expired_and_withdrawn_tokens_are_refused_alike(registry: Registry) -> None:
    spent, expired, withdrawn = token(registry, uses=1), token(registry), token(registry)
    enrol(registry, spent)
    with registry.change("person:t") as change:
        rows = {row.hash: row for row in change.session.query(EnrolmentToken)}
        rows[credential.digest(expired)].expires = change.now
        enrolment.withdraw(change, rows[credential.digest(withdrawn)].id)
    for text in ("spe_unknown." + CA, "", spent, expired, withdrawn):
        with pytest.raises(NotAdmitted) as refused:
            enrol(registry, text, OTHER)
        assert str(refused.value) == ""
    assert registry.count_devices() == 1


def test_a_name_that_is_refused_costs_no_use(registry: Registry) -> None:
    text = token(registry, uses=1)
    with pytest.raises(Refused):
        enrol(registry, text, name="PC\x00")
    assert enrol(registry, text, name=" PC 7 ").device.name == "PC 7"


def test_machines_without_a_name_are_numbered_in_their_room(registry: Registry) -> None:
    text = token(registry, room="r1")
    names = [enrol(registry, text, Hardware("", (f"00:1b:21:aa:cc:{n:02x}",))).device.name for n in range(3)]
    assert names == ["PC-01", "PC-02", "PC-03"]
    assert enrol(registry, token(registry, kind="server"), OTHER).device.name == "SV-01"


def test_a_reinstalled_machine_keeps_its_id_name_and_room_and_its_old_secret_ends(registry: Registry) -> None:
    first = enrol(registry, token(registry, room="r1"), name="Máy cô Lan")
    with registry.change("system") as change:
        row = change.session.get_one(Device, first.device.id)
        row.certificate = "abc"
    again = enrol(registry, token(registry))
    assert (again.device.id, again.device.name, again.device.room) == (first.device.id, "Máy cô Lan", "r1")
    assert not credential.matches(first.secret, again.device.secret_hash)
    assert credential.matches(again.secret, again.device.secret_hash)
    with registry.read() as session:
        assert session.get(RevokedCertificate, "abc") and session.get_one(Device, first.device.id).certificate == ""


@pytest.mark.parametrize(
    ("second", "same"),
    [
        (Hardware(UUID, ("00:1b:21:aa:bb:01", "00:1b:21:aa:bb:09")), True),  # a card was added
        (Hardware(UUID, ()), True),  # the cards could not be read
        (Hardware("", ("00:1b:21:aa:bb:01",)), True),  # the UUID could not be read
        (Hardware(UUID, ("00:1b:21:aa:bb:02",)), False),  # cheap boards share one UUID
        (Hardware(OTHER_UUID, ("00:1b:21:aa:bb:01",)), False),  # a card moved to another machine
        (Hardware(), False),  # nothing to know it by
    ],
)
def test_which_machine_is_the_same(registry: Registry, second: Hardware, same: bool) -> None:
    text = token(registry)
    assert (enrol(registry, text).device.id == enrol(registry, text, second).device.id) is same


def test_a_machine_with_a_uuid_that_another_has_is_marked(registry: Registry) -> None:
    text = token(registry)
    first = enrol(registry, text)
    twin = enrol(registry, text, Hardware(UUID, ("00:1b:21:aa:bb:02",)))
    assert twin.device.cloned_from == first.device.id


def test_a_machine_that_looks_like_one_that_is_connected_is_another_unless_it_proves_its_id(registry: Registry) -> None:
    text = token(registry)
    first = enrol(registry, text)
    other = enrol(registry, text, online=lambda device: device == first.device.id)
    assert other.device.id != first.device.id and other.device.cloned_from == first.device.id
    named = enrol(registry, text, previous=first.device.id, proof="guessed", online=lambda _: True)
    assert named.device.id != first.device.id
    forced = enrol(registry, text, previous=first.device.id, proof=first.secret, online=lambda _: True)
    assert forced.device.id == first.device.id


def test_another_schools_token_never_takes_over_a_device(registry: Registry) -> None:
    first = enrol(registry, token(registry))
    moved = enrol(registry, token(registry, "s2"))
    assert moved.device.id != first.device.id and moved.device.school == "s2"
    kept = registry.device(first.device.id)
    assert kept and credential.matches(first.secret, kept.secret_hash)


def test_copies_get_identities_of_their_own_and_the_original_keeps_its(registry: Registry) -> None:
    first = enrol(registry, token(registry, room="r1"))
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)
    held = registry.device(first.device.id)
    assert held and not credential.matches(first.secret, held.secret_hash)  # nobody comes in with it any more

    def rekey(hardware: Hardware) -> Enrolled:
        with registry.change("device:copy") as change:
            return enrolment.rekey(change, first.device.id, first.secret, hardware)

    copies = [rekey(Hardware("", (f"00:1b:21:aa:cc:{n:02x}",))) for n in range(3)]
    own = rekey(PC)
    assert own.device.id == first.device.id and own.device.name == "PC-01"
    assert len({each.device.id for each in [own, *copies]}) == 4
    assert {each.device.cloned_from for each in copies} == {first.device.id}
    assert {each.device.room for each in copies} == {"r1"}
    again = rekey(Hardware("", ("00:1b:21:aa:cc:00",)))  # the answer was lost
    assert again.device.id == copies[0].device.id and registry.count_devices() == 4
    last = rekey(PC)
    assert last.device.id == first.device.id and credential.matches(last.secret, last.device.secret_hash)


def test_copies_that_show_no_hardware_get_identities_of_their_own_too(registry: Registry) -> None:
    first = enrol(registry, token(registry), Hardware())
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)
    found = []
    for _ in range(3):
        with registry.change("device:copy") as change:
            found.append(enrolment.rekey(change, first.device.id, first.secret, Hardware()))
    assert found[0].device.id == first.device.id and len({each.device.id for each in found}) == 3
    kept = registry.device(first.device.id)
    assert kept and credential.matches(found[0].secret, kept.secret_hash)


def test_nobody_gets_a_new_key_unasked_with_a_wrong_secret_or_too_late(registry: Registry) -> None:
    first = enrol(registry, token(registry))

    def refused(secret: str) -> None:
        with pytest.raises(NotAdmitted), registry.change("device:copy") as change:
            enrolment.rekey(change, first.device.id, secret, PC)

    refused(first.secret)
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)
    refused("wrong")
    refused("")
    with registry.change("system") as change:
        change.session.get_one(Device, first.device.id).rekey_until = change.now
    refused(first.secret)


def test_a_revoked_device_does_not_get_a_new_key(registry: Registry) -> None:
    first = enrol(registry, token(registry))
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)
        devices.set_status(change, first.device.id, "revoked")
    with pytest.raises(NotAdmitted), registry.change("device:copy") as change:
        enrolment.rekey(change, first.device.id, first.secret, PC)
    with pytest.raises(Refused), registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)


def test_a_token_is_for_a_room_of_its_school_and_within_bounds(registry: Registry) -> None:
    for wrong in ({"room": "r2"}, {"room": "none"}, {"uses": 0}, {"uses": 10_000}, {"days": 0}, {"days": 1000}):
        with pytest.raises(Refused):
            token(registry, **wrong)
    with pytest.raises(Refused):
        token(registry, "none")


def test_a_token_takes_over_active_devices_of_its_own_kind_only(registry: Registry) -> None:
    server, pc = enrol(registry, token(registry, kind="server")), enrol(registry, token(registry, room="r1"), OTHER)
    forged = enrol(registry, token(registry), PC, previous=server.device.id, proof=server.secret)
    assert forged.device.id != server.device.id and forged.device.cloned_from == server.device.id
    with registry.change("person:t") as change:
        devices.set_status(change, pc.device.id, "revoked")
    again = enrol(registry, token(registry), OTHER, previous=pc.device.id)
    assert again.device.id != pc.device.id and again.device.cloned_from == pc.device.id
    with registry.read() as session:
        assert session.get_one(Device, pc.device.id).status == "revoked"
        assert session.get_one(Device, server.device.id).secret_hash == server.device.secret_hash


def test_each_use_of_a_token_is_in_the_audit_with_what_it_took_over(registry: Registry) -> None:
    text = token(registry)
    first = enrol(registry, text)
    enrol(registry, text)
    with registry.read() as session:
        uses = [row for row in audit.rows(session) if row.action == "token.use"]
        assert {(row.subject, row.school) for row in uses} == {("enrolment_token:1", "s1")}
        assert ["taken_over" in row.detail and first.device.id in row.detail for row in uses] == [False, True]


def test_rekey_can_be_opened_again_after_its_time_for_those_who_did_not_come(registry: Registry) -> None:
    first = enrol(registry, token(registry))
    for _ in range(2):
        with registry.change("person:t") as change:
            enrolment.open_rekey(change, first.device.id)
            change.session.get_one(Device, first.device.id).rekey_until = change.now
    with registry.change("person:t") as change:
        enrolment.open_rekey(change, first.device.id)
    with registry.change("device:copy") as change:
        assert enrolment.rekey(change, first.device.id, first.secret, PC).device.id == first.device.id


def test_a_tokens_label_is_printable(registry: Registry) -> None:
    with pytest.raises(Refused):
        token(registry, label="a\x00b")
