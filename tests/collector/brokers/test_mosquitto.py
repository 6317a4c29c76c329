"""A real mosquitto with the files that are made for it: who comes in, by certificate or secret, and who is cut."""

from __future__ import annotations

import socket
import ssl
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from pipeline import Client
from running import Program, free_port, wait_until

from schoolpulse_collector import certificate
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.brokers import mosquitto
from schoolpulse_collector.brokers.mosquitto import Listeners, Mosquitto
from schoolpulse_collector.registry import Registry, devices
from schoolpulse_collector.registry.model import Device, Room, School
from schoolpulse_collector.roster import Roster

LAYERS = ["certificate", "secret"]


class Centre:
    """A registry with three devices, a CA, and the mosquitto that is told of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        self.registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
        self.roster = Roster(self.registry)
        self.authority = Authority.create(folder / "tls", "x", ["127.0.0.1"])
        self.secrets: dict[str, str] = {}
        self.contexts: dict[str, ssl.SSLContext] = {}
        for device in ("d1", "d2", "d3"):
            self.enrol(device)
        self.ports = Listeners("127.0.0.1", free_port(), free_port(), free_port())
        self.broker = self.told(self.authority)
        self.broker.write()
        self.process = Program(["/usr/sbin/mosquitto", "-c", f"{folder}/broker/mosquitto.conf"], folder / "out")
        wait_until((folder / "broker/run/mosquitto.pid").exists, 10, "mosquitto runs")
        wait_until(self.listens, 10, "mosquitto listens")
        self.broker.start()

    def told(self, authority: Authority) -> Mosquitto:
        folder = self.folder / "broker"
        return Mosquitto(folder, self.registry, self.roster, authority, self.ports, user="root")

    def enrol(self, device: str) -> None:
        """Give a device a new secret and, as the enrolment does, a certificate for its own key."""
        key = certificate.new_key()
        csr = x509.CertificateSigningRequestBuilder(certificate.name("anybody")).sign(key, certificate.SHA256())
        pem, serial = self.authority.device_certificate(csr.public_bytes(certificate.Encoding.PEM).decode(), device)
        with self.registry.change("system") as change:
            self.secrets[device] = devices.put(change, device, "s", "r", device, "lab_pc")
            change.session.get_one(Device, device).certificate = serial
        self.contexts[device] = self.context(pem, certificate.key_pem(key))

    def context(self, pem: str = "", key: str = "") -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self.authority.ca_pem)
        if pem:
            path = self.folder / "client.pem"
            path.write_text(pem + key)
            made.load_cert_chain(path)
        return made

    def listens(self) -> bool:
        try:
            self.collector().close()
        except OSError:
            return False
        return True

    def collector(self) -> Client:
        made = Client(self.ports.plain or 0, "collector", self.broker.password_file.read_text().strip())
        made.listen("sp/v1/up/#")
        return made

    def client(self, device: str, layer: str, client_id: str | None = None) -> Client:
        if layer == "secret":
            return Client(self.ports.secret, device, self.secrets[device], client_id, tls=self.context())
        return Client(self.ports.mtls, "", "", client_id or device, tls=self.contexts[device])

    def comes_in(self, device: str, layer: str) -> bool:
        try:
            client = self.client(device, layer)
        except OSError:  # in the handshake
            return False
        client.close()
        return client.admitted

    def close(self) -> None:
        self.broker.stop()
        self.process.stop()
        self.registry.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_device_comes_in_and_speaks_for_itself_only(centre: Centre, layer: str) -> None:
    collector, device, other = centre.collector(), centre.client("d1", layer), centre.client("d2", layer)
    assert device.admitted and other.admitted
    other.listen("sp/v1/down/#")
    forger = centre.client("d3", layer)
    for topic in ("sp/v1/up/s/d1/report", "sp/v1/down/d2/receipt", "sp/v1/up/s/d1/d3/report"):
        forger.mqtt.publish(topic, b"forged", qos=1)
    device.say("sp/v1/up/any/d1/report", b"own")
    assert collector.hear() == ("sp/v1/up/any/d1/report", b"own")
    collector.say("sp/v1/down/d1/receipt", b"for d1")
    collector.say("sp/v1/down/d2/receipt", b"for d2")
    assert other.hear() == ("sp/v1/down/d2/receipt", b"for d2")
    time.sleep(0.3)
    assert collector.heard.empty() and other.heard.empty()
    for client in (collector, device, other, forger):
        client.close()


@pytest.mark.parametrize("layer", LAYERS)
def test_anothers_client_id_is_not_given(centre: Centre, layer: str) -> None:
    device, stranger = centre.client("d1", layer), centre.client("d2", layer, client_id="d1")
    collector = centre.collector()
    stranger.say("sp/v1/up/s/d2/report", b"as itself")
    assert collector.hear() == ("sp/v1/up/s/d2/report", b"as itself")
    assert device.admitted and not device.ended
    for client in (device, stranger, collector):
        client.close()


def test_who_shows_no_good_certificate_stays_out(centre: Centre, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign", "x", ["127.0.0.1"])
    long_ago = Authority.open(centre.authority.folder, lambda: datetime.now(UTC) - timedelta(days=2))
    server = [(centre.authority.folder / name).read_text() for name in ("server.pem", "server.key")]
    shown = [(), foreign.client_certificate("d1", 60), long_ago.client_certificate("d1", 60), server]
    for pair in shown:
        centre.contexts["x"] = centre.context(*pair)
        assert not centre.comes_in("x", "certificate")
    assert centre.comes_in("d1", "certificate")


def test_who_shows_a_wrong_secret_or_none_stays_out(centre: Centre) -> None:
    for name, secret in (("d1", centre.secrets["d2"]), ("d1", ""), ("collector", "x"), ("nobody", "x"), ("", "")):
        client = Client(centre.ports.secret, name, secret, name or "x", tls=centre.context())
        assert not client.admitted
        client.close()


@pytest.mark.parametrize("port", ["mtls", "secret"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_tls_or_with_an_old_one_nobody_gets_in(centre: Centre, port: str) -> None:
    number = getattr(centre.ports, port)
    plain = Client(number, "d1", centre.secrets["d1"])
    assert plain.ended and not plain.reasons
    old = centre.contexts["d1"]
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        Client(number, "d1", centre.secrets["d1"], tls=old)


@pytest.mark.parametrize("layer", LAYERS)
def test_who_is_revoked_is_cut_within_a_second_and_stays_out_while_others_go_on(centre: Centre, layer: str) -> None:
    collector, device = centre.collector(), centre.client("d1", layer)
    others = [centre.client("d2", "certificate"), centre.client("d3", "secret")]
    for number in range(50):
        others[number % 2].mqtt.publish(f"sp/v1/up/s/d{2 + number % 2}/report", str(number), qos=1)
        if number == 25:
            centre.registry.revoke("d1")
            centre.broker.changed([new for _, new in centre.roster.changes()], ["d1"])
            wait_until(lambda: device.ended, 1, "its connection was ended")
    heard = sorted(int(collector.hear()[1]) for _ in range(50))
    assert heard == list(range(50)) and not any(other.ended for other in others) and not collector.ended
    assert not centre.comes_in("d1", "certificate") and not centre.comes_in("d1", "secret")
    for client in (collector, device, *others):
        client.close()


def test_who_shook_hands_before_it_was_revoked_and_says_connect_later_is_cut_too(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", centre.ports.mtls), timeout=5) as plain:
        sly = centre.contexts["d1"].wrap_socket(plain, server_hostname="127.0.0.1")
        centre.registry.revoke("d1")
        monkeypatch.setattr(mosquitto, "GREETED", 0.0)
        centre.broker.changed([new for _, new in centre.roster.changes()], ["d1"])
        sly.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1")
        assert sly.recv(4) == b"\x20\x02\x00\x00"  # mosquitto asks the list in the handshake only
        centre.broker.tend()
        assert sly.recv(1) == b""


@pytest.mark.parametrize("layer", LAYERS)
def test_who_enrols_again_is_cut_and_comes_back_with_what_it_was_given_only(centre: Centre, layer: str) -> None:
    device, secret, context = centre.client("d1", layer), centre.secrets["d1"], centre.contexts["d1"]
    centre.enrol("d1")
    centre.broker.changed([new for _, new in centre.roster.changes()], ["d1"])
    wait_until(lambda: device.ended, 1, "its connection was ended")
    assert wait_until(lambda: centre.comes_in("d1", layer), 2, "the new one is good")
    centre.secrets["d1"], centre.contexts["d1"] = secret, context
    assert not centre.comes_in("d1", layer)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_device_that_was_added_comes_in(centre: Centre, layer: str) -> None:
    centre.broker._told = 0.0  # the start is more than a pause ago
    centre.enrol("d4")
    centre.broker.changed([new for _, new in centre.roster.changes()], [])
    assert wait_until(lambda: centre.comes_in("d4", layer), 2, "it comes in")


def test_devices_added_one_after_the_other_share_a_reload(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosquitto, "PAUSE", 60.0)
    for device in ("d4", "d5"):
        centre.enrol(device)
        centre.broker.changed([new for _, new in centre.roster.changes()], [])
    assert "d4:" not in (centre.folder / "broker/passwords").read_text()
    centre.broker.tend()
    assert wait_until(lambda: centre.comes_in("d4", "secret") and centre.comes_in("d5", "secret"), 2, "both come in")


def test_the_list_of_revoked_certificates_is_renewed_before_it_ends_and_without_it_nobody_would_come_in(
    centre: Centre,
) -> None:
    path = centre.folder / "broker/crl.pem"

    def days_ago(days: int) -> None:
        then = Authority.open(centre.authority.folder, lambda: datetime.now(UTC) - timedelta(days=days))
        centre.told(then).write()

    days_ago(31)
    centre.broker._reload()
    wait_until(lambda: not centre.comes_in("d1", "certificate"), 2, "the list has ended")
    days_ago(21)
    centre.broker.tend()
    ends = x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
    assert ends and ends - datetime.now(UTC) > timedelta(days=29)
    assert wait_until(lambda: centre.comes_in("d1", "certificate"), 2, "mosquitto has the new one")


def test_mosquitto_shows_a_renewed_certificate_to_those_who_connect_from_then_on(centre: Centre) -> None:
    address = ("127.0.0.1", centre.ports.secret)
    before = ssl.get_server_certificate(address)
    centre.authority.server_certificate(["127.0.0.1", "new.example"])
    centre.broker.tend()
    wait_until(lambda: ssl.get_server_certificate(address) != before, 2, "the new one is shown")


def test_a_mosquitto_that_does_not_run_is_said_and_what_changed_holds_when_it_comes_back(centre: Centre) -> None:
    centre.process.stop()
    centre.registry.revoke("d1")
    with pytest.raises(BrokerDown, match="does not run"):
        centre.broker.changed([new for _, new in centre.roster.changes()], ["d1"])
    (centre.folder / "broker/run/mosquitto.pid").write_text("1")  # left behind; now the number is another's
    with pytest.raises(BrokerDown, match="does not run"):
        centre.broker.tend()
    centre.process.start()
    wait_until(centre.listens, 10, "mosquitto listens")
    assert not centre.comes_in("d1", "secret") and not centre.comes_in("d1", "certificate")
    assert centre.comes_in("d2", "secret") and centre.comes_in("d2", "certificate")


def test_only_the_group_of_the_folder_can_read_what_is_made_and_nobody_else_the_collectors_password(
    centre: Centre,
) -> None:
    folder = centre.folder / "broker"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}
    assert modes.pop("collector-password") == 0o600
    assert set(modes.values()) == {0o640} and {"server.key", "passwords", "acl", "crl.pem"} <= set(modes)
    printed = centre.process.printed().replace("Warning: Mosquitto should not be run as root", "")
    assert "Warning" not in printed and "Error" not in printed, printed


def test_an_id_that_would_be_a_line_of_its_own_or_the_collector_gets_no_password(centre: Centre) -> None:
    for device in ("collector", "a:b", "a\nd1"):
        centre.registry.enrol(device, "s", "r", device, "lab_pc")
    centre.broker.write()
    names = [line.partition(":")[0] for line in (centre.folder / "broker/passwords").read_text().splitlines()]
    assert sorted(names) == ["collector", "d1", "d2", "d3"]
