"""Somebody who takes what the agent sends and answers it with receipts, as the collector does."""

from __future__ import annotations

import ssl
import time

import paho.mqtt.client as mqtt
from brokers import Broker
from heard import Heard
from paho.mqtt.enums import CallbackAPIVersion
from receipting import answer

from schoolpulse_agent import wire


class Receipts:
    """Connected to a broker over TLS; ``heard``: what each device has sent, by its name."""

    def __init__(self, broker: Broker) -> None:
        self.heard: dict[str, Heard] = {}
        self.inventories: set[str] = set()  # devices whose inventory has come
        self._inventory: dict[str, str] = {}
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="collector")
        client.username_pw_set("collector", broker.collector_password)
        client.tls_set_context(ssl.create_default_context(cafile=broker.ca))
        client.on_connect = lambda *_: client.subscribe("sp/v1/up/#", qos=1)
        client.on_message = self._take
        client.connect("127.0.0.1", broker.port)
        client.loop_start()

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        answered = answer(message.topic, message.payload, self._inventory, time.time())
        if answered is None:
            return
        device, receipt = answered
        kind = wire.parse_up(message.topic)[2]
        if kind == "report":
            batch = wire.decode(message.payload)
            values = sum(len(fields) for each in batch.reports for fields in each.m.values())
            self.heard.setdefault(device, Heard()).add(len(batch.reports), len(message.payload), values)
        elif kind == "inventory":
            self.inventories.add(device)
        self._client.publish(wire.down_topic(device, "receipt"), wire.encode_receipt(receipt), qos=0)
