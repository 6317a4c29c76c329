"""The embedded broker's door: only a known device comes in, and speaks only for itself. The same on mosquitto."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Client, Pipeline, pipeline
from running import free_port, wait_until

from schoolpulse_collector.brokers.embedded import Broker


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
