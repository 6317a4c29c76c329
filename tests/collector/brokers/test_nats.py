"""NATS as the broker, a real nats-server over TLS: who comes in, who is heard, who is cut off, and what comes back."""

from __future__ import annotations

import socket
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from natsrunning import Running, drain
from running import wait_until

from schoolpulse_agent import settings
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.wallclock import WallClock
from schoolpulse_collector.backpressure import Backpressure, Load
from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.brokers.nats import Nats
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.delivery import Delivery
from schoolpulse_collector.duties import Duties
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.intake import Intake
from schoolpulse_collector.natsconfig import server_config
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.received import Received
from schoolpulse_collector.spool import Spool


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with ExitStack() as parts:
        yield Running(tmp_path, parts)


def test_a_device_with_its_secret_is_heard_by_the_collector_and_hears_what_is_for_it(running: Running) -> None:
    collector = running.subscriber()
    first, second = running.client("d1"), running.client("d2")
    for device in (first, second):
        for topic in ("sp/v1/down/d1/receipt", "sp/v1/down/d2/receipt", "sp/v1/down/#", "#", "sp/v1/up/#", "+/sub/#"):
            device.listen(topic)
    first.say("sp/v1/up/s/d1/report", "one")
    assert drain(collector) == [("sp/v1/up/s/d1/report", b"one")]
    collector.send("sp/v1/down/d1/receipt", b"for d1")
    collector.send("sp/v1/down/d2/receipt", b"for d2")
    assert first.hear() == ("sp/v1/down/d1/receipt", b"for d1")
    assert second.hear() == ("sp/v1/down/d2/receipt", b"for d2")
    time.sleep(0.3)
    assert first.heard.empty() and second.heard.empty()


@pytest.mark.parametrize(
    ("name", "secret", "client_id"),
    [
        ("d1", "wrong", None),
        ("d1", "", None),
        ("nobody", "x", None),
        ("d1", None, "d2"),
        ("d1", None, "collector"),
        ("collector", "x", None),
        ("", "", "x"),
    ],
)
def test_who_is_not_known_by_name_secret_and_client_id_stays_out(
    running: Running, name: str, secret: str | None, client_id: str | None
) -> None:
    second = running.client("d2")
    assert not running.client(name, secret, client_id).admitted
    assert second.admitted and not second.ended
    refused = running.counters.registry.get_sample_value("schoolpulse_broker_refused_total", {"what": "login"})
    assert refused == (1.0 if name else None)  # nats-server asks nobody about an empty name


def test_a_device_whose_id_is_more_than_a_plain_word_gets_no_permission(running: Running) -> None:
    for wild in ("*", ">", "d1.x", "d1 ", "Đ"):
        secret = running.registry.enrol(wild, "s", "r", wild, "lab_pc")
        running.roster.follow()
        assert running.roster.admits(wild, secret)
        assert not running.client(wild, secret).admitted


@pytest.mark.parametrize("qos", [0, 1])
def test_a_device_can_not_speak_for_another_nor_to_the_server(running: Running, qos: int) -> None:
    collector = running.subscriber()
    other = running.client("d2")
    other.listen("sp/v1/down/d2/receipt")
    topics = ("up/s/d2/report", "up/s/d2/d1/report", "up/d1/d2/report", "down/d2/receipt")
    device = running.client("d1", will=("sp/v1/up/s/d2/presence", "forged", qos, True))
    inside = ("$MQTT/msgs/sp/v1/up/s/d2/report", "$MQTT/sub/x", "$JS/API/STREAM/PURGE/$MQTT_msgs", "else/where")
    for topic in (*(f"sp/v1/{each}" for each in topics), *inside):
        device.mqtt.publish(topic, "forged", qos=qos)
    device.say("sp/v1/up/s/d1/report", "mine")
    device.vanish()
    assert drain(collector, 1.0) == [("sp/v1/up/s/d1/report", b"mine")]
    assert other.heard.empty()


def test_a_last_will_of_its_own_is_told_and_nothing_is_retained(running: Running) -> None:
    collector = running.subscriber()
    device = running.client("d1", will=("sp/v1/up/s/d1/presence", "gone", 1, True))
    device.mqtt.publish("sp/v1/up/s/d1/report", "kept?", qos=1, retain=True).wait_for_publish(10)
    device.vanish()
    assert drain(collector, 1.0) == [("sp/v1/up/s/d1/report", b"kept?"), ("sp/v1/up/s/d1/presence", b"gone")]
    collector._client.subscribe("sp/v1/up/+/+/report", qos=0)
    assert drain(collector, 0.5) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of naming old versions
def test_without_tls_there_is_no_answer_and_old_tls_is_refused(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as plain:
        plain.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1")
        received = plain.recv(100)
        assert not received.startswith(b"\x20")  # no CONNACK: the end, or TLS's own alert
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(running.ca)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.parametrize("ending", ["revoked", "given a new secret"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_live_connection_is_cut_within_a_second_and_can_not_come_back(
    running: Running, ending: str, restarted: bool
) -> None:
    device, other = running.client("d1"), running.client("d2")
    if restarted:  # a new process knows nothing of the connections that another let in
        running.broker.stop()
        running.broker = running.answer()
    if ending == "revoked":
        running.registry.revoke("d1")
    else:
        running.registry.enrol("d1", "s", "r", "d1", "lab_pc")
    changed = [new for _, new in running.roster.changes()]
    began = time.monotonic()
    running.broker.changed(changed, ["d1", "not connected"])
    wait_until(lambda: device.ended, 1.0, "it was cut")
    assert time.monotonic() - began < 1.0  # what the contract promises, not a measurement
    assert not running.client("d1").admitted
    assert not other.ended


def test_when_the_server_restarts_devices_and_collector_come_back_and_what_waited_arrives(running: Running) -> None:
    collector = running.subscriber()
    old = running.client("d1")
    collector.stop()  # away, not gone: the server keeps what comes meanwhile
    old.say("sp/v1/up/s/d1/report", "while away")
    running.server.kill()
    wait_until(lambda: not running.broker.answering, 5, "the end was seen")
    with pytest.raises(BrokerDown):
        running.broker.changed([], ["d1"])
    running.server.start()
    wait_until(lambda: running.broker.answering, 10, "it answers again")
    running.client("d1").say("sp/v1/up/s/d1/report", "after")
    collector = running.collector()
    found: list[tuple[str, bytes]] = []
    wait_until(lambda: found.extend(drain(collector)) or len(found) >= 2, 10, "both arrive")
    assert sorted(payload for _, payload in found) == [b"after", b"while away"]


def test_while_nobody_answers_devices_stay_and_nobody_new_comes_in(running: Running) -> None:
    collector, old = running.subscriber(), running.client("d1")
    running.broker.stop()
    waiting = socket.create_connection(("127.0.0.1", running.port), timeout=5)
    late_tls = running.tls.wrap_socket(waiting, server_hostname="127.0.0.1")
    secret = running.secrets["d2"].encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02d2\x00\x02d2\x00" + bytes([len(secret)]) + secret
    late_tls.sendall(b"\x10" + bytes([len(body)]) + body)
    old.say("sp/v1/up/s/d1/report", "still here")
    assert drain(collector) == [("sp/v1/up/s/d1/report", b"still here")]
    late_tls.settimeout(0.3)
    with pytest.raises(TimeoutError):
        late_tls.recv(4)
    late_tls.close()
    running.broker = running.answer()
    assert running.client("d2").admitted and not old.ended


def test_a_report_of_the_products_own_agent_goes_through_to_its_receipt(running: Running, tmp_path: Path) -> None:
    document = {
        "device": {"id": "d1", "school": "s", "secret": running.secrets["d1"]},
        "broker": {"url": f"mqtts://127.0.0.1:{running.port}", "ca_file": str(running.ca)},
        "reports": {"interval": 1, "folder": str(tmp_path / "outbox"), "replay_spread": 0},
    }
    outbox = Outbox(tmp_path / "outbox", tmp_path / "live")
    link = Link(settings.parse(document, "test"), outbox, WallClock())
    collector, counters, received = running.subscriber(), Counters(), Received({}, {})
    spool = Spool(tmp_path / "spool")
    running.parts.callback(spool.close)
    door, letters, delivery = running.roster, DeadLetters(tmp_path), Delivery(received, running.roster)
    load = Backpressure(1.0, lambda: Load(0, 0))
    presence, fleet = Presence(), Fleet(running.registry, collector.send, counters)
    duties = Duties(door, presence)
    intake = Intake(collector, door, spool, received, letters, presence, counters, delivery, load, fleet, duties)
    intake.start()
    running.parts.callback(intake.stop)
    for _ in range(3):
        outbox.append(int(time.time() * 1000), 1.0, {"cpu": {"usage_active": 1.0}})
    wait_until(lambda: link.work() or not outbox.held(), 10, "the receipt named all of them")
    assert counters.registry.get_sample_value("schoolpulse_reports_accepted_total") == 3
    link.close()
    outbox.close()


def test_the_configuration_written_again_keeps_its_keys_and_holds_no_secret(tmp_path: Path) -> None:
    def write(port: int) -> dict[str, bytes]:
        server_config(tmp_path, Path("server.pem"), Path("server.key"), port=port)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    first, second, third = write(4222), write(4222), write(4333)
    assert first == second
    assert {name for name in first if first[name] != third[name]} == {"nats.conf", "listeners.json"}
    for name, content in first.items():
        if name != "nats.conf":
            assert content not in first["nats.conf"]
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_without_the_keys_there_is_nothing_to_start(running: Running, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="collector"):
        Nats(tmp_path / "nothing", running.roster, running.counters)
