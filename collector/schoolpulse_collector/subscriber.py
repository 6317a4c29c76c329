"""The collector's MQTT connection: puts messages on a queue, acknowledges them only when told, sends receipts."""

from __future__ import annotations

import logging
import queue
import ssl
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

log = logging.getLogger(__name__)

CLIENT_ID = "collector"
INBOX_BYTES = 64 * 2**20  # of messages read ahead of the intake; past that the broker waits
OVERHEAD = 1000  # bytes that a message takes besides its payload


class Message(NamedTuple):
    """One message as it came."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int  # a mid means nothing on another connection


class Inbox(queue.Queue[Message]):
    """A queue that is full by bytes, not by messages; ``qsize`` is in bytes."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: Message) -> None:
        super()._put(item)
        self._bytes += len(item.payload) + OVERHEAD

    def _get(self) -> Message:
        item: Message = super()._get()
        self._bytes -= len(item.payload) + OVERHEAD
        return item

    @property
    def filled(self) -> float:
        """Part of its room that is taken, 0 to about 1."""
        return self.qsize() / self.maxsize


class Subscriber:
    """Connects and reconnects by itself, in paho's own thread."""

    def __init__(self, url: str, password: str, ca_file: Path | None = None) -> None:
        """``ca_file``: whom to trust at an mqtts:// address; None: the system's CAs. Raises OSError for a bad file."""
        self.inbox = Inbox(INBOX_BYTES)
        self.connected = False
        self._connection = 0
        self._address = urlsplit(url)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=CLIENT_ID,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        self._client.username_pw_set(CLIENT_ID, password)
        if self._address.scheme == "mqtts":
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background; a broker that is not there yet is no error."""
        self._client.connect_async(
            self._address.hostname or "127.0.0.1",
            self._address.port or (8883 if self._address.scheme == "mqtts" else 1883),
            keepalive=30,
        )
        self._client.loop_start()

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that this message is safe with us."""
        if message.qos and message.connection == self._connection:
            self._client.ack(message.mid, message.qos)

    def send(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 0: a receipt that is lost is asked for again by the sender's repetition."""
        if self.connected:
            self._client.publish(topic, payload, qos=0)

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1, retained where the broker retains."""
        self._client.publish(topic, payload, qos=1, retain=True)

    def stop(self) -> None:
        """Disconnect; what was not acknowledged will come again."""
        self._client.disconnect()
        while not self.inbox.empty():  # paho's thread may wait for room
            self.inbox.get_nowait()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses the collector: %s", reason)
            return
        self._connection += 1
        client.subscribe("sp/v1/up/#", qos=1)
        self.connected = True
        log.info("connected to the broker")

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.connected = False
        log.warning("broker connection ended: %s", reason)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.inbox.put(Message(message.topic, bytes(message.payload), message.mid, message.qos, self._connection))
