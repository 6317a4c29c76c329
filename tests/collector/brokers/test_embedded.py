"""The embedded broker's door: only a known device comes in, and speaks only for itself. The same on mosquitto."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Client, Pipeline, pipeline
from running import free_port, wait_until

from schoolpulse_collector.authority import Authority
from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.brokers import embedded
from schoolpulse_collector.brokers.embedded import Broker, Tls


@pytest.fixture(params=["amqtt", "mosquitto"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(tmp_path, request.param) as made:
        yield made


def presence(state: str, session: str) -> str:
    return f'{{"state":"{state}","session":"{session}","epoch":1}}'


@pytest.mark.parametrize(
    ("name", "secret"), [("d1", "wrong"), ("d1", ""), ("nobody", "x"), ("", ""), ("collector", "x")]
)
def test_who_does_not_show_the_right_secret_stays_out(running: Pipeline, name: str, secret: str) -> None:
    client = Client(running.port, name, secret, client_id=name or "x")
    assert not client.admitted
    client.close()


def test_a_stranger_who_names_a_devices_client_id_does_not_end_its_connection(running: Pipeline) -> None:
    device = Client(running.port, "d1", running.secrets["d1"])
    for name, secret in (("d1", "wrong"), ("d2", running.secrets["d2"])):
        Client(running.port, name, secret, client_id="d1").close()
    time.sleep(0.5)
    assert device.admitted and not device.ended
    device.say("sp/v1/up/s/d1/presence", presence("online", "a"))
    wait_until(lambda: running.presence.of("d1").state == "online", 10, "the device still speaks")
    device.close()


def test_the_newest_connection_of_a_device_replaces_the_one_before(running: Pipeline) -> None:
    first = Client(running.port, "d1", running.secrets["d1"])
    second = Client(running.port, "d1", running.secrets["d1"])
    wait_until(lambda: first.ended, 10, "the first one was ended")
    second.say("sp/v1/up/s/d1/presence", presence("online", "b"))
    wait_until(lambda: running.presence.of("d1").state == "online", 10, "the second one speaks")
    for client in (first, second):
        client.close()


@pytest.mark.parametrize(
    "topic", ["sp/v1/up/s/d2/presence", "sp/v1/down/d1/receipt", "sp/v1/up/s/d2/d1/presence", "else/where"]
)
def test_a_device_can_not_speak_for_another(running: Pipeline, topic: str) -> None:
    other = Client(running.port, "d2", running.secrets["d2"])
    other.listen("sp/v1/down/d2/receipt")
    device = Client(running.port, "d1", running.secrets["d1"])
    device.mqtt.publish(topic, presence("online", "a"), qos=1)  # amqtt drops it, mosquitto the connection too
    time.sleep(0.3)
    device = Client(running.port, "d1", running.secrets["d1"])
    device.say("sp/v1/up/s/d1/presence", presence("online", "a"))
    wait_until(lambda: running.presence.of("d1").state == "online", 10, "its own word arrived")
    assert running.presence.of("d2").state == "unknown" and other.heard.empty()
    for client in (device, other):
        client.close()


@pytest.mark.parametrize("topic", ["sp/v1/down/#", "sp/v1/down/d2/receipt", "#", "sp/v1/up/#", "$SYS/#"])
def test_a_device_hears_nothing_that_is_for_others(running: Pipeline, topic: str) -> None:
    device = Client(running.port, "d1", running.secrets["d1"])
    device.listen(topic)
    other = Client(running.port, "d2", running.secrets["d2"])
    other.listen("sp/v1/down/d2/receipt")
    other.say("sp/v1/up/s/d2/presence", presence("online", "a"))
    assert other.hear()[0] == "sp/v1/down/d2/receipt"
    time.sleep(0.3)
    heard = [device.heard.get_nowait() for _ in range(device.heard.qsize())]
    assert [topic for topic, _ in heard if topic != "sp/v1/down/d1/receipt"] == []
    for client in (device, other):
        client.close()


def test_a_pulled_plug_is_told_by_the_last_will_once_and_an_older_one_does_not_count(running: Pipeline) -> None:
    will = ("sp/v1/up/s/d1/presence", '{"state":"offline","session":"a"}', 1)
    device = Client(running.port, "d1", running.secrets["d1"], will=will)
    device.say("sp/v1/up/s/d1/presence", presence("online", "a"))
    wait_until(lambda: running.presence.of("d1").state == "online", 10, "it is online")
    device.vanish()
    wait_until(lambda: running.presence.of("d1").state == "offline", 10, "its will was published")


def test_rubbish_bytes_and_silent_connections_do_not_disturb_the_broker(running: Pipeline) -> None:
    silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(20)]
    for rubbish in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 50,
        b"\xff" * 1000,
        b"\x10\xff\xff\xff\x7f",
        b"\x10\x04\x00\x04MQ",
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as stranger:
            stranger.sendall(rubbish)
    device = Client(running.port, "d1", running.secrets["d1"])
    device.say("sp/v1/up/s/d1/presence", presence("online", "a"))
    wait_until(lambda: running.presence.of("d1").state == "online", 10, "the broker goes on")
    device.close()
    for each in silent:
        each.close()


def test_the_embedded_broker_closes_a_connection_that_keeps_silent_beyond_its_keep_alive(tmp_path: Path) -> None:
    with pipeline(tmp_path, "amqtt") as running:
        connect = b"\x00\x04MQTT\x04\xc2\x00\x01\x00\x02d1\x00\x02d1\x00" + bytes([len(running.secrets["d1"])])
        connect += running.secrets["d1"].encode()
        with socket.create_connection(("127.0.0.1", running.port)) as plain:
            plain.sendall(b"\x10" + bytes([len(connect)]) + connect)
            assert plain.recv(4) == b"\x20\x02\x00\x00"
            plain.settimeout(10)
            assert plain.recv(1) == b""  # keep-alive 1 s: closed after one and a half


def test_a_port_that_is_taken_is_an_error_at_start(tmp_path: Path) -> None:
    with pipeline(tmp_path, "amqtt") as running:
        with pytest.raises(OSError, match=str(running.port)):
            Broker("127.0.0.1", running.port, running.door).start()
        again = Broker("127.0.0.1", free_port(), running.door)
        again.start()
        again.stop()


@pytest.mark.parametrize("topic", ["sp/v1/up/s/d2/presence", "sp/v1/down/d2/receipt"])
@pytest.mark.parametrize("retain", [False, True])
def test_a_last_will_speaks_for_its_own_device_only(running: Pipeline, topic: str, retain: bool) -> None:
    other = Client(running.port, "d2", running.secrets["d2"])
    other.listen("sp/v1/down/d2/receipt")
    forger = Client(running.port, "d1", running.secrets["d1"], will=(topic, presence("online", "x"), 1, retain))
    forger.vanish()
    time.sleep(0.7)
    late = Client(running.port, "d3", running.secrets["d3"])
    time.sleep(0.3)
    assert running.presence.of("d2").state == "unknown" and other.heard.empty() and late.heard.empty()
    for client in (other, late):
        client.close()


def test_a_device_with_a_new_secret_is_not_heard_on_its_old_connection(tmp_path: Path) -> None:
    with pipeline(tmp_path, "amqtt") as running:
        device = Client(running.port, "d1", running.secrets["d1"])
        running.registry.enrol("d1", "s", "r", "d1", "lab_pc")
        time.sleep(1.2)  # the roster is a second behind at most
        device.say("sp/v1/up/s/d1/presence", presence("online", "a"))
        time.sleep(0.5)
        assert running.presence.of("d1").state == "unknown"
        device.close()


def test_a_packet_larger_than_any_of_ours_ends_the_connection(tmp_path: Path) -> None:
    with pipeline(tmp_path, "amqtt") as running:
        device = Client(running.port, "d1", running.secrets["d1"])
        device.mqtt.publish("sp/v1/up/s/d1/report", bytes(5_000_000), qos=1)
        wait_until(lambda: device.ended, 10, "the connection was ended")
        device.close()


# Over TLS, as from a school.


class Secured:
    """A broker with both listeners around a running collector: ``port`` is the one with TLS."""

    def __init__(self, running: Pipeline, folder: Path) -> None:
        self.authority = Authority.create(folder / "tls", "x", ["127.0.0.1"])
        self.port, self.plain, self.running = free_port(), free_port(), running
        tls = Tls("127.0.0.1", self.port, folder / "tls/server.pem", folder / "tls/server.key")
        self.broker = Broker("127.0.0.1", self.plain, running.door, tls)
        self.broker.start()

    def client(self, name: str, secret: str | None = None, client_id: str | None = None, **more: object) -> Client:
        trust = ssl.create_default_context(cadata=self.authority.ca_pem)
        secret = self.running.secrets[name] if secret is None else secret
        return Client(self.port, name, secret, client_id, tls=trust, **more)

    def collector(self) -> Client:
        made = Client(self.plain, "collector", self.running.door.collector_password)
        made.listen("sp/v1/up/#")
        return made


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    with pipeline(tmp_path, "amqtt") as running:
        made = Secured(running, tmp_path)
        yield made
        made.broker.stop()


def test_over_tls_a_device_comes_in_by_its_secret_and_is_heard_by_the_collector_on_the_plain_port(
    secured: Secured,
) -> None:
    collector, device = secured.collector(), secured.client("d1")
    assert device.admitted
    device.listen("sp/v1/down/d1/receipt")
    device.say("sp/v1/up/s/d1/report", b"x" * 100_000)
    assert collector.hear() == ("sp/v1/up/s/d1/report", b"x" * 100_000)
    collector.say("sp/v1/down/d1/receipt", b"y")
    assert device.hear() == ("sp/v1/down/d1/receipt", b"y")
    for client in (collector, device):
        client.close()


@pytest.mark.parametrize(("name", "client_id"), [("d1", "d1"), ("d2", "d1"), ("collector", "collector"), ("", "x")])
def test_over_tls_a_wrong_secret_and_anothers_client_id_stay_out(secured: Secured, name: str, client_id: str) -> None:
    device = secured.client("d1")
    stranger = secured.client(name, secured.running.secrets["d2"], client_id)
    assert not stranger.admitted and device.admitted and not device.ended
    for client in (stranger, device):
        client.close()


def test_over_tls_a_device_speaks_for_itself_only_and_hears_only_what_is_for_it(secured: Secured) -> None:
    collector, device, other = secured.collector(), secured.client("d1"), secured.client("d2")
    other.listen("sp/v1/down/#")
    device.mqtt.publish("sp/v1/up/s/d2/report", b"forged", qos=1)
    device.say("sp/v1/up/s/d1/report", b"own")
    collector.say("sp/v1/down/d1/receipt", b"for d1")
    assert collector.hear() == ("sp/v1/up/s/d1/report", b"own")
    collector.say("sp/v1/down/d2/receipt", b"for d2")
    time.sleep(0.3)
    assert collector.heard.empty() and "for d1" not in str(other.heard.queue)
    for client in (collector, device, other):
        client.close()


def test_plain_mqtt_on_the_port_with_tls_gets_no_answer(secured: Secured) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=5) as plain:
        plain.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        assert not plain.recv(100).startswith(b"\x20")  # a TLS alert, or nothing


@pytest.mark.parametrize(
    ("version", "works"), [("TLSv1", False), ("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_older_than_1_2_is_refused(secured: Secured, version: str, works: bool) -> None:
    client = ssl.create_default_context(cadata=secured.authority.ca_pem)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # or this side would not even offer it
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", secured.port), timeout=5) as plain:
        try:
            came_in = client.wrap_socket(plain, server_hostname="127.0.0.1").version()
        except ssl.SSLError:
            came_in = None
    assert (came_in is not None) is works


def test_who_is_revoked_is_cut_within_a_second_and_can_not_come_back_while_others_stay(secured: Secured) -> None:
    device, other = secured.client("d1"), secured.client("d2")
    secured.running.registry.revoke("d1")
    secured.broker.changed([], ["d1", "unknown"])
    wait_until(lambda: device.ended, 1, "its connection was ended")
    again = secured.client("d1")
    assert not again.admitted
    assert other.admitted and not other.ended
    for client in (again, other):
        client.close()


def test_who_has_a_new_secret_is_cut_and_comes_back_with_that_only(secured: Secured) -> None:
    device, old = secured.client("d1"), secured.running.secrets["d1"]
    new = secured.running.registry.enrol("d1", "s", "r", "d1", "lab_pc")
    secured.broker.changed([], ["d1"])
    wait_until(lambda: device.ended, 1, "its connection was ended")
    refused, admitted = secured.client("d1", old), secured.client("d1", new)
    assert admitted.admitted and not refused.admitted and not admitted.ended
    for client in (refused, admitted):
        client.close()


def test_of_many_that_come_at_once_with_one_id_one_stays_and_that_is_the_one_that_can_be_cut(secured: Secured) -> None:
    for _ in range(5):
        many = [socket.create_connection(("127.0.0.1", secured.plain), timeout=5) for _ in range(20)]
        for one in many:  # copies of one image
            one.sendall(hello("d1", secured.running.secrets["d1"]))
        wait_until(lambda many=many: sum(map(is_open, many)) == 1, 5, "one connection a device")
        secured.broker.changed([], ["d1"])
        wait_until(lambda many=many: not any(map(is_open, many)), 5, "who is cut has no other connection")
        for one in many:
            one.close()


def hello(device: str, secret: str) -> bytes:
    """CONNECT."""
    name, shown = device.encode(), secret.encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x00" + b"".join(bytes([0, len(each)]) + each for each in (name, name, shown))
    return b"\x10" + bytes([len(body)]) + body


def is_open(connection: socket.socket) -> bool:
    """Whether the broker has neither hung up nor reset."""
    connection.setblocking(False)
    try:
        while connection.recv(100):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.parametrize("kind", ["tls", "plain"])
def test_a_peer_that_neither_reads_nor_says_goodbye_is_cut_as_fast(secured: Secured, kind: str) -> None:
    port = secured.port if kind == "tls" else secured.plain
    stuck = socket.create_connection(("127.0.0.1", port), timeout=5)
    if kind == "tls":
        trust = ssl.create_default_context(cadata=secured.authority.ca_pem)
        stuck = trust.wrap_socket(stuck, server_hostname="127.0.0.1")
    stuck.sendall(hello("d1", secured.running.secrets["d1"]))
    assert stuck.recv(4) == b"\x20\x02\x00\x00"
    stuck.sendall(b"\x82\x1a\x00\x01\x00\x15sp/v1/down/d1/receipt\x00")
    assert stuck.recv(5)[:1] == b"\x90"
    flood = secured.collector()
    for _ in range(100):
        flood.mqtt.publish("sp/v1/down/d1/receipt", b"x" * 200_000, qos=0)
    flood.say("sp/v1/down/d3/receipt", b"")
    assert established(port, stuck)
    secured.broker.changed([], ["d1"])
    wait_until(lambda: not established(port, stuck), 1, "the connection is gone")
    flood.close()
    stuck.close()


def established(port: int, client: socket.socket) -> bool:
    """Whether the kernel still has the broker's end of this connection."""
    own = client.getsockname()[1]
    ends = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [f"0100007F:{port:04X}", f"0100007F:{own:04X}", "01"] in ends


def test_the_broker_shows_a_renewed_certificate_without_a_restart(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "LOOK", 0.05)
    tls = Tls("127.0.0.1", free_port(), tmp_path / "tls/server.pem", tmp_path / "tls/server.key")
    broker = Broker("127.0.0.1", free_port(), secured.running.door, tls)
    broker.start()
    before = ssl.get_server_certificate(("127.0.0.1", tls.port))
    secured.authority.server_certificate(["127.0.0.1", "new.example"])
    wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", tls.port)) != before, 5, "the new one is shown")
    broker.stop()


def test_a_broker_that_is_not_running_says_so(secured: Secured) -> None:
    secured.broker.stop()
    with pytest.raises(BrokerDown, match="not running"):
        secured.broker.changed([], ["d1"])


def test_without_tls_nobody_listens_for_other_machines(secured: Secured, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "broker.example"):
        with pytest.raises(ValueError, match="without TLS"):
            Broker(host, 1883, secured.running.door)
    missing = Tls("127.0.0.1", free_port(), tmp_path / "no.pem", tmp_path / "no.key")
    with pytest.raises(OSError, match=r"no\.pem"):
        Broker("127.0.0.1", free_port(), secured.running.door, missing).start()
