"""A real collector, from broker to store, and a raw MQTT client to talk to it: for tests that look inside."""

from __future__ import annotations

import json
import queue
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from running import Mosquitto, free_port, wait_until

from schoolpulse_collector.backpressure import Backpressure, Load
from schoolpulse_collector.brokers.embedded import Broker, Door
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.delivery import Delivery
from schoolpulse_collector.duties import Duties
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.intake import Intake
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.received import Received
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.shipper import Shipper
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.steering import Steering
from schoolpulse_collector.stores.duckdb import DuckDB
from schoolpulse_collector.subscriber import Subscriber

DEVICES = ("d1", "d2", "d3")


class Pipeline:
    """The collector's parts around one broker, with school ``s`` and its devices."""

    def __init__(self, folder: Path, kind: str, parts: ExitStack) -> None:
        registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        parts.callback(registry.close)
        registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
        self.registry = registry
        self.secrets = {device: registry.enrol(device, "s", "r", device, "lab_pc") for device in DEVICES}
        self.counters, self.presence = Counters(), Presence()
        self.roster = Roster(registry)
        self.door = Door(self.roster, self.counters)
        if kind == "amqtt":
            self.port = free_port()
            broker = Broker("127.0.0.1", self.port, self.door)
            broker.start()
            parts.callback(broker.stop)
        else:
            mosquitto = Mosquitto(folder / "mosquitto", {**self.secrets, "collector": self.door.collector_password})
            parts.callback(mosquitto.stop)
            self.port = mosquitto.port
        self.store = DuckDB(folder / "samples.duckdb")
        parts.callback(self.store.close)
        self.spool = Spool(folder / "spool")
        parts.callback(self.spool.close)
        self.dead_letters = DeadLetters(folder)
        self.shipper = Shipper(self.spool, self.store, self.dead_letters, self.counters)
        self.subscriber = Subscriber(f"mqtt://127.0.0.1:{self.port}", self.door.collector_password)
        self.received = Received(self.store.received(), self.store.lows())
        self.delivery = Delivery(self.received, self.roster)
        self.counters.registry.register(self.delivery)
        self.fleet = Fleet(registry, self.subscriber.send, self.counters)
        self.steering = Steering(registry, self.roster, self.fleet, self.subscriber, self.counters, "Asia/Ho_Chi_Minh")
        self.intake = Intake(
            self.subscriber,
            self.roster,
            self.spool,
            self.received,
            self.dead_letters,
            self.presence,
            self.counters,
            self.delivery,
            Backpressure(1.0, lambda: Load(self.subscriber.inbox.filled, 0)),
            self.fleet,
            Duties(self.roster, self.presence),
        )
        self.intake.heard += [self.fleet.said, self.steering.said]
        self.subscriber.start()
        parts.callback(self.subscriber.stop)
        for thread in (self.shipper, self.fleet, self.steering, self.intake):
            thread.start()
            parts.callback(thread.stop)
        wait_until(lambda: self.subscriber.connected, 10, "the collector is connected")
        time.sleep(0.2)  # and subscribed

    def counted(self, name: str, **labels: str) -> float:
        """A counter's value."""
        return self.counters.registry.get_sample_value(name, labels) or 0.0

    def stored(self, measurement: str, field: str) -> list[float]:
        """All stored values of a field, in order of time."""
        if field not in self.store._tables.columns_of(measurement):
            return []
        rows = self.store._ask(
            measurement, 0, 2**62, lambda source: (f'select "{field}" from {source} order by t, device', [])
        )
        return [row[0] for row in rows]

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        path = self.dead_letters.path
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def pipeline(folder: Path, kind: str) -> Iterator[Pipeline]:
    """A running collector; ``kind``: amqtt or mosquitto."""
    with ExitStack() as parts:
        yield Pipeline(folder, kind, parts)


class Client:
    """A plain MQTT client: what it hears is in ``heard``."""

    def __init__(
        self,
        port: int,
        name: str,
        password: str,
        client_id: str | None = None,
        will: Any = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.reasons: list[str] = []
        self.ended = False
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id or name, reconnect_on_failure=False)
        self.mqtt.username_pw_set(name, password)
        if will:
            self.mqtt.will_set(*will)
        if tls:
            self.mqtt.tls_set_context(tls)
        self.mqtt.on_connect = lambda _c, _u, _f, reason, _p: self.reasons.append(str(reason))
        self.mqtt.on_message = lambda _c, _u, message: self.heard.put((message.topic, message.payload))
        self.mqtt.on_disconnect = lambda *_: setattr(self, "ended", True)
        self.mqtt.connect("127.0.0.1", port, keepalive=30)
        self.mqtt.loop_start()
        wait_until(lambda: self.reasons or self.ended, 10, "an answer to CONNECT")

    @property
    def admitted(self) -> bool:
        return self.reasons == ["Success"]

    def say(self, topic: str, payload: bytes | str) -> None:
        """Publish with QoS 1 and wait for the PUBACK."""
        self.mqtt.publish(topic, payload, qos=1).wait_for_publish(10)

    def listen(self, topic: str) -> None:
        done: queue.Queue[Any] = queue.Queue()
        self.mqtt.on_subscribe = lambda *arguments: done.put(arguments)
        self.mqtt.subscribe(topic, qos=1)
        done.get(timeout=10)

    def hear(self, seconds: float = 5) -> tuple[str, bytes]:
        return self.heard.get(timeout=seconds)

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def vanish(self) -> None:
        """As a pulled plug: no goodbye."""
        self.mqtt.loop_stop()
        sock = self.mqtt.socket()
        if sock:
            sock.close()
