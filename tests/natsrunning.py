"""A real nats-server over TLS with what answers it, and clients of it: for tests that need that broker."""

from __future__ import annotations

import queue
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

import trustme
from pipeline import Client
from running import Program, free_port, wait_until

from schoolpulse_collector.brokers.nats import Nats
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.natsconfig import server_config
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.subscriber import Subscriber


class Running:
    """A nats-server, what answers it, and devices d1 to d3."""

    def __init__(self, folder: Path, parts: ExitStack) -> None:
        self.folder, self.parts = folder / "nats", parts
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        own = authority.issue_cert("127.0.0.1")
        own.private_key_pem.write_to_path(folder / "server.key")
        own.cert_chain_pems[0].write_to_path(folder / "server.pem")
        self.ca, self.tls = folder / "ca.pem", ssl.create_default_context(cafile=folder / "ca.pem")
        self.port, self.own_port = free_port(), free_port()
        listen = f"127.0.0.1:{self.port}"
        config = server_config(self.folder, folder / "server.pem", folder / "server.key", listen, self.own_port)
        self.server = Program([str(Path(sys.executable).with_name("nats-server")), "-c", str(config)], folder / "run")
        parts.callback(self.server.kill)
        self.registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        parts.callback(self.registry.close)
        self.registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
        self.secrets = {each: self.registry.enrol(each, "s", "r", each, "lab_pc") for each in ("d1", "d2", "d3")}
        self.broker = self.answer()

    def answer(self) -> Nats:
        """Begin to answer the server, as a collector that starts."""
        self.counters, self.roster = Counters(), Roster(self.registry)
        broker = Nats(self.folder, self.roster, self.counters, f"nats://127.0.0.1:{self.own_port}")
        broker.start()
        self.parts.callback(broker.stop)
        wait_until(lambda: broker.answering, 10, "the server asks us")
        return broker

    def client(self, name: str, secret: str | None = None, client_id: str | None = None, will: object = None) -> Client:
        shown = self.secrets.get(name, "x") if secret is None else secret
        made = Client(self.port, name, shown, client_id, will, self.tls)
        self.parts.callback(made.close)
        return made

    def collector(self) -> Subscriber:
        """The product's own collector, connecting."""
        made = Subscriber(f"mqtt://127.0.0.1:{self.port}", self.broker.collector_password)
        made._client.tls_set_context(self.tls)
        made.start()
        self.parts.callback(made.stop)
        return made

    def subscriber(self) -> Subscriber:
        """The product's own collector, heard to hear."""
        made = self.collector()
        probe_device = self.client("d3")

        def heard() -> bool:
            probe_device.mqtt.publish("sp/v1/up/s/d3/ready", "", qos=0)
            return made.inbox.qsize() > 0

        wait_until(heard, 10, "the collector hears")
        probe_device.close()
        drain(made)
        return made


def drain(collector: Subscriber, seconds: float = 0.3) -> list[tuple[str, bytes]]:
    """What the collector hears until it has heard nothing for so long; all of it acknowledged."""
    found = []
    while True:
        try:
            message = collector.inbox.get(timeout=seconds)
        except queue.Empty:
            return found
        collector.acknowledge(message)
        found.append((message.topic, message.payload))
