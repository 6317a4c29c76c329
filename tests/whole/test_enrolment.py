"""From nothing to devices that report, and what becomes of stolen, copied and reinstalled ones: the real programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from office import SCHOOL, Machine, Office
from running import PostgreSQL, Program, free_port, wait_until


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A centre with the embedded broker."""
    made = Office(tmp_path_factory.mktemp("office"))
    made.up()
    yield made
    made.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[ExitStack]:
    """Ends the machines that a test started."""
    with ExitStack() as machines:
        yield machines


def started(room: ExitStack, machine: Machine) -> Machine:
    room.callback(machine.start().stop)
    return machine


def test_from_an_empty_folder_to_two_machines_that_report_and_one_that_is_cut_off(
    office: Office, tmp_path: Path, room: ExitStack
) -> None:
    browser = office.first_sign_in()
    answer = browser.post(f"/api/v1/schools/{SCHOOL}/tokens", json={"uses": 2, "label": "phòng máy 1"})
    assert answer.status_code == 201, answer.text
    token = answer.json()["text"]
    one, two = (Machine(tmp_path / name, card) for card, name in enumerate(("one", "two"), 1))
    for machine, name in ((one, "PC-01"), (two, "PC-02")):
        assert name in machine.enrol(office, token)
        started(room, machine)
    office.wait_online(one.device, two.device)
    wait_until(lambda: office.stored(one.device) and office.stored(two.device), 20, "reports are stored")

    assert "revoke ✓" in office.command("device", "revoke", one.device)
    wait_until(lambda: office.state(one.device) != "online", 5, "a revoked device is gone")
    wait_until(lambda: "refuses device" in one.program.printed(), 10, "it tries to come back and may not")
    assert "connection lost" in one.program.printed()
    before = office.stored(two.device)
    wait_until(lambda: office.stored(two.device) > before, 20, "the other goes on")
    assert "connection lost" not in two.program.printed() and office.state(two.device) == "online"

    assert "✓" in office.command("audit", "verify")
    rows = [json.loads(line) for line in office.command("audit", "export").splitlines()]
    told = [(row["actor"], row["action"], row["subject"]) for row in rows]
    by_admin = [action for actor, action, subject in told if actor == "person:admin"]
    assert {"person.sign_in", "person.password", "person.totp", "token.issue"} <= set(by_admin), by_admin
    assert [subject for _, action, subject in told if action == "device.add"] == [
        f"device:{one.device}",
        f"device:{two.device}",
    ]
    assert ("system", "device.revoked", f"device:{one.device}") in told
    assert token not in json.dumps(rows)


def test_an_image_that_was_copied_is_noticed_and_one_word_makes_four_devices_of_it(
    office: Office, tmp_path: Path, room: ExitStack
) -> None:
    first = Machine(tmp_path / "m0", 10)
    first.enrol(office, office.token(uses=1, label="máy mẫu"))
    device = first.device
    machines = [first, *(first.copy(tmp_path / f"m{card}", 10 + card) for card in (1, 2, 3))]
    for machine in machines:
        started(room, machine)

    def noticed() -> set[str]:
        found = [each for each in office.api.get("/api/v1/clones").json() if each["device"]["id"] == device]
        return {row["hardware"] for each in found for row in each["sightings"]}

    wait_until(lambda: len(noticed()) == 3, 30, "three other machines use this id")
    assert device in office.command("device", "clones")
    assert office.api.post(f"/api/v1/devices/{device}/rekey").status_code == 200

    def apart() -> bool:
        ids = [machine.device for machine in machines]
        known = office.devices()
        return len(set(ids)) == 4 and all(known[each]["presence"]["state"] == "online" for each in ids)

    wait_until(apart, 40, "four devices are online by themselves")
    assert first.device == device, "the machine that it was enrolled on keeps its id"
    known = office.devices()
    assert {known[machine.device]["cloned_from"] for machine in machines[1:]} == {device}
    assert len({known[machine.device]["name"] for machine in machines}) == 4
    wait_until(lambda: all(office.stored(machine.device) for machine in machines), 20, "each one's reports are stored")
    assert noticed() == set()


def test_a_machine_with_a_new_disk_is_the_device_that_it_was(office: Office, tmp_path: Path, room: ExitStack) -> None:
    token = office.token(uses=2)
    old = Machine(tmp_path / "old", 20)
    old.enrol(office, token)
    old.start()
    office.wait_online(old.device)
    wait_until(lambda: office.stored(old.device), 20, "a report is stored")
    old.stop()
    wait_until(lambda: office.state(old.device) == "off", 10, "it said goodbye")
    before = office.devices()[old.device]
    new = Machine(tmp_path / "new", 20)
    new.enrol(office, token)
    assert new.device == old.device
    started(room, new)
    office.wait_online(new.device)
    after = office.devices()[new.device]
    assert {**after, "presence": 0} == {**before, "presence": 0}
    started(room, old)  # the stolen disk: its secret opens nothing any more
    wait_until(lambda: "refuses device" in old.program.printed(), 10, "the old secret is refused")
    assert office.state(new.device) == "online"


def test_a_token_is_for_as_many_machines_as_it_says_and_tells_the_next_one_what_to_do(
    office: Office, tmp_path: Path
) -> None:
    token = office.token(uses=5, label="năm máy")

    def used() -> list[int]:
        listed = office.api.get(f"/api/v1/schools/{SCHOOL}/tokens").json()
        return [each["used"] for each in listed if each["label"] == "năm máy"]

    for number in range(1, 6):
        Machine(tmp_path / f"m{number}", 30 + number).enrol(office, token)
        assert used() == ([number] if number < 5 else [])
    sixth = Machine(tmp_path / "m6", 36)
    said = sixth.enrol(office, token, code=1)
    assert (
        re.search(r"used up.*ask the centre for a new one", said) and token not in said and len(said.splitlines()) == 1
    )
    assert not re.search("^id", sixth.config.read_text(), re.MULTILINE)
    sixth.enrol(office, office.token(uses=1))
    assert sixth.device in office.devices()


@pytest.fixture(scope="module")
def by_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A centre whose broker is mosquitto, with a port for certificates and one for secrets."""
    mtls, secret, plain = (free_port() for _ in range(3))
    there = {"SP_DEVICE_BROKER": f"mqtts://127.0.0.1:{secret}", "SP_DEVICE_BROKER_MTLS": f"mqtts://127.0.0.1:{mtls}"}
    made = Office(tmp_path_factory.mktemp("mosquitto"), SP_MQTT_PORT=str(plain), **there)
    ports = [f"--mtls-port={mtls}", f"--secret-port={secret}", f"--plain-port={plain}"]
    made.command("broker", "setup", "--host", "127.0.0.1", *ports)
    config = made.home / "mosquitto/mosquitto.conf"
    config.write_text(config.read_text().replace("user mosquitto", "user root"))
    broker = Program(["mosquitto", "-c", str(config)], made.folder / "broker", PATH=f"{os.environ['PATH']}:/usr/sbin")
    made.environment["SP_BROKER_FOLDER"] = str(config.parent)
    made.up()
    yield made
    made.close()
    broker.stop()


def test_on_mosquitto_a_certificate_and_a_secret_report_and_each_is_cut_when_it_is_revoked(
    by_mosquitto: Office, tmp_path: Path, room: ExitStack
) -> None:
    office, token = by_mosquitto, by_mosquitto.token(uses=2)
    by_certificate, by_secret = (Machine(tmp_path / name, card) for card, name in enumerate(("mtls", "secret"), 1))
    by_certificate.enrol(office, token, "--certificate")
    by_secret.enrol(office, token)
    assert "device.pem" in by_certificate.config.read_text() and "device.pem" not in by_secret.config.read_text()
    machines = started(room, by_certificate), started(room, by_secret)
    office.wait_online(*(machine.device for machine in machines))
    wait_until(lambda: all(office.stored(machine.device) for machine in machines), 20, "reports are stored")
    cut_when_revoked(office, by_certificate)
    before = office.stored(by_secret.device)
    wait_until(lambda: office.stored(by_secret.device) > before, 20, "the other goes on")
    cut_when_revoked(office, by_secret)


def cut_when_revoked(office: Office, machine: Machine) -> None:
    """Revoke it by the API, and see that its connection ends and does not come back."""
    assert machine.program.printed().count("connection lost") == 0
    assert office.api.post(f"/api/v1/devices/{machine.device}/revoke").status_code == 200
    wait_until(lambda: "connection lost" in machine.program.printed(), 5, "its connection is cut")
    assert office.state(machine.device) != "online"

    def turned_away() -> bool:
        said = machine.program.printed().partition("connection lost")[2]
        return "refuses device" in said or "certificate revoked" in said

    wait_until(turned_away, 15, "it is not let in again")
    assert " connected to " not in machine.program.printed().partition("connection lost")[2]


@pytest.fixture(scope="module")
def by_nats(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> Iterator[Office]:
    """A centre whose broker is NATS and whose registry is in PostgreSQL."""
    port, own = free_port(), free_port()
    there = {"SP_DEVICE_BROKER": f"mqtts://127.0.0.1:{port}", "SP_REGISTRY": postgresql.database()}
    made = Office(tmp_path_factory.mktemp("nats"), **there)
    made.command("broker", "setup", "--kind=nats", "--host=127.0.0.1", f"--secret-port={port}", f"--plain-port={own}")
    server = str(Path(sys.executable).with_name("nats-server"))
    broker = Program([server, "-c", str(made.home / "nats/nats.conf")], made.folder / "broker")
    made.environment["SP_BROKER_FOLDER"] = str(made.home / "nats")
    made.up()
    yield made
    made.close()
    broker.stop()


def test_on_nats_with_the_registry_in_postgresql_two_report_and_one_is_cut_when_it_is_revoked(
    by_nats: Office, tmp_path: Path, room: ExitStack
) -> None:
    office, token = by_nats, by_nats.token(uses=2)
    one, two = (Machine(tmp_path / name, card) for card, name in enumerate(("one", "two"), 1))
    for machine in (one, two):
        machine.enrol(office, token)
        started(room, machine)
    office.wait_online(one.device, two.device)
    wait_until(lambda: office.stored(one.device) and office.stored(two.device), 20, "reports are stored")
    cut_when_revoked(office, one)
    before = office.stored(two.device)
    wait_until(lambda: office.stored(two.device) > before, 20, "the other goes on")
    assert two.program.printed().count("connection lost") == 0
    assert "✓" in office.command("audit", "verify")
