"""The MQTT connection of one sender: publishes its outbox, deletes on receipt, says when it comes and goes.

Never blocks longer than one connection attempt and starts no thread: ``agent.py`` waits for the socket and calls
``work``. A PUBACK only says that the broker has a message; a report is deleted when the collector's receipt names it.
"""

from __future__ import annotations

import logging
import random
import secrets
import socket
import ssl
import time
from math import inf
from typing import Any, Callable, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from schoolpulse_agent import remote, tls, wire
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.parts import Inventory, encode_inventory
from schoolpulse_agent.settings import Settings
from schoolpulse_agent.wallclock import WallClock
from schoolpulse_agent.window import AGAIN_MAX, Window

log = logging.getLogger(__name__)

CONNECT_WAIT_MAX = 300.0
KEEPALIVE = 90  # seconds: longer than between two reports, or each would be followed by a ping that wakes the machine
CONNACK = 10.0  # seconds a broker has to answer
REJECTED = (134, 135)  # "bad user name or password" and "not authorized", in MQTT 5's numbers as paho has them
INVENTORY_FIRST = (2.0, 15.0)  # seconds from the first hello to the inventory, unless a receipt says it is known ...
INVENTORY_LATER = (30.0, 300.0)  # ... and from a later one: a whole city may have come back


class About(NamedTuple):
    """What a hello says of the sender beside its reports; each as in `wire.Presence`."""

    agent: str = ""
    config: str = ""
    refused: str = ""


class Link:
    """Carries one outbox to the collector, at least once and in the protocol's order: live first, backlog paced."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        wallclock: WallClock,
        clock: Callable[[], float] = time.monotonic,
        hardware: str = "",
    ) -> None:
        self.settings = settings
        self.device, self.school = settings.device.id, settings.device.school
        self.outbox = outbox
        self.connected = False
        self.refused: str | None = None  # why the broker did not let us in, if so
        self.rejected = False  # whether that is because it does not take our secret or certificate
        self.receipts = 0
        self.known_inventory = ""  # hash of the inventory that the centre has, by the last receipt that says one
        self.duties: frozenset[str] = frozenset()  # probes that this machine reads for its room, by the last receipt
        self.wanted: remote.Config | None = None  # the configuration that came last
        self.interval = settings.reports.interval
        self.window = Window(outbox, settings.reports, clock)
        self.wallclock = wallclock
        self._secret, self._ca_file, self._own = settings.secret(), settings.ca_file(), settings.certificate()
        self._hardware = hardware  # fingerprint of this machine
        self._clock = clock
        self._client: mqtt.Client | None = None
        self._session, self._dates_checked = "", False
        self._connect_at = self._connack_by = 0.0
        self._connect_wait = 1.0
        self._hello_again = self._hello_wait = 0.0
        self._about, self._inventory = About(), Inventory("", {})
        self._inventory_at = inf  # when to publish it (again)
        self._inventory_wait, self._inventory_spread = 0.0, INVENTORY_FIRST

    def socket(self) -> socket.socket | None:
        """What to wait for, None while there is no connection."""
        return self._client.socket() if self._client else None  # type: ignore[return-value]

    def wants_write(self) -> bool:
        """Whether bytes wait to be written."""
        return bool(self._client and self._client.want_write())

    def due(self) -> float:
        """When ``work`` has something to do even if the socket stays silent (monotonic seconds)."""
        if self.socket() is None:
            return self._connect_at
        if not self.connected:
            return self._connack_by
        if not self.wallclock.settled:
            return self._hello_again
        return min(self._inventory_at, self._clock() + KEEPALIVE, *self.window.due())

    def work(self) -> None:
        """Connect if it is time, read, write, publish what may be published. Never raises for network trouble."""
        if self.socket() is None:
            self.connected = False
            if self._clock() < self._connect_at:
                return
            self._connect()
        client = self._client
        if client is None:
            return
        if not self.connected and self._clock() > self._connack_by:  # a port that accepts and says nothing
            client.disconnect()
            self._client = None
            return
        client.loop_read()
        if client.socket() is not None:
            if self.connected:
                self._publish()
            if client.want_write():
                client.loop_write()
            client.loop_misc()

    def tell(self, about: About, inventory: Inventory, interval: float) -> None:
        """What is so from now on; the centre hears of a change."""
        if inventory.hash != self._inventory.hash:
            self._inventory, self._inventory_at = inventory, inf
            if self.connected:
                self._expect_inventory()
        if (about, interval) != (self._about, self.interval):
            self._about = about
            self.interval = self.window.interval = interval
            if self.connected and self.socket() is not None:
                self._say_hello(self._clock())

    def close(self, patience: float = 2.0) -> None:
        """Say goodbye, so that nobody takes this for a failure, and take the receipts that are on their way."""
        client, end = self._client, self._clock() + patience
        if client and self.connected:
            bye = self._say("bye")
            while client.socket() and self._clock() < end and not (self.window.is_empty and bye.is_published()):
                self._pump(client)
                self.window.receipted()
            self.connected = False
            client.disconnect()
            while client.socket() and self._clock() < end + 0.5:
                self._pump(client)  # until the broker hangs up: hanging up first may overtake the goodbye
        self._client, self.connected = None, False

    def _pump(self, client: mqtt.Client) -> None:
        client.loop_read()
        client.loop_write()
        time.sleep(0.01)

    def _connect(self) -> None:
        now, broker = self._clock(), self.settings.broker
        self._connect_at = now + self._connect_wait * random.random()
        self._connect_wait = min(self._connect_wait * 2, CONNECT_WAIT_MAX)
        # A new client each time: paho keeps what it could not send, and would send it beside our own outbox.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.device, protocol=mqtt.MQTTv311)
        client.username_pw_set(self.device, self._secret)
        client.connect_timeout = 5.0
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message = self._on_message
        self._session, self._dates_checked = secrets.token_hex(8), False
        will = wire.encode_presence(wire.Presence("offline", self._session))
        client.will_set(wire.up_topic(self.school, self.device, "presence"), will, qos=1)
        try:
            if broker.tls:
                client.tls_set_context(tls.context(self._ca_file, self.wallclock.raw(), self._own))
                client.on_socket_open = tls.await_judgement if self._own else None
            # As bytes a name is looked up as it is; as text Python loads the tables of Unicode first: 0.4 MB.
            host: Any = broker.host.encode() if broker.host.isascii() else broker.host
            client.connect(host, broker.port, keepalive=KEEPALIVE)
        except (OSError, ValueError) as why:
            self._client = None
            self._refuse(f"no connection to {broker.url}; trying again", str(why), tls.is_rejection(str(why)))
            return
        self._client, self._connack_by = client, self._clock() + CONNACK

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            said = f"the broker refuses device {self.device}; is it enrolled and active?"
            self._refuse(said, str(reason), reason.value in REJECTED)
            return
        if self.wallclock.settled and not self._in_date(self.wallclock.now()):
            return
        log.info("connected to %s as %s", self.settings.broker.url, self.device)
        self.connected, self.refused, self.rejected, self._connect_wait = True, None, False, 1.0
        # QoS 0: what a broken connection loses is said again after the next hello, and NATS gives devices no QoS 1.
        client.subscribe([(wire.down_topic(self.device, kind), 0) for kind in ("receipt", "config")])
        self._hello_wait = 2 * self.interval
        self._say_hello(self._clock())
        self.window.begin()

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self.connected:
            log.warning("connection lost: %s", reason)
        self.connected = False
        self._connect_at = self._clock() + self._connect_wait * random.random()

    def _refuse(self, what: str, why: str, rejected: bool) -> None:
        if self.refused != why:  # once, not at every attempt
            log.log(logging.ERROR if rejected else logging.WARNING, "%s (%s)", what, why)
        self.refused, self.rejected = why, rejected

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            if message.topic == wire.down_topic(self.device, "receipt"):
                self._on_receipt(wire.decode_receipt(bytes(message.payload)))
            elif message.topic == wire.down_topic(self.device, "config"):
                self.wanted = remote.decode(bytes(message.payload))
        except wire.BadReport as why:
            log.warning("unreadable message of the centre: %s", why)

    def _on_receipt(self, receipt: wire.Receipt) -> None:
        if not self._in_date(receipt.now):
            return
        self.receipts += 1
        first = not self.wallclock.settled
        moved = self.wallclock.learn(receipt.now)
        if first:  # nothing of this start has been published yet: now it can get its final time
            self.outbox.restamp(moved)
        self.window.pace(receipt.replay)
        self.outbox.receipt(receipt.epochs)
        self.window.receipted()
        if receipt.epochs:  # one that names reports, not the word on an inventory
            self.duties = frozenset(receipt.duties)
        self.known_inventory = receipt.inventory or self.known_inventory
        if receipt.inventory and receipt.inventory == self._inventory.hash:
            self._inventory_at = inf

    def _in_date(self, now: int) -> bool:
        """Check what a handshake with a dead clock could not: the certificate's dates. False: the connection ends."""
        sock = self.socket()
        if self._dates_checked or not isinstance(sock, ssl.SSLSocket):
            return True
        self._dates_checked = tls.in_date(sock.getpeercert(), now)
        if not self._dates_checked and self._client:
            log.error("the broker's certificate is not valid at this time")
            self.refused, self._connect_wait = "certificate out of date", CONNECT_WAIT_MAX
            self._client.disconnect()
        return self._dates_checked

    def _say(self, state: str) -> mqtt.MQTTMessageInfo:
        presence = wire.Presence(
            state,
            self._session,
            self.outbox.epoch,
            self.wallclock.raw(),
            self.interval,
            self._hardware,
            inventory=self._inventory.hash,
            **self._about._asdict(),
        )
        topic = wire.up_topic(self.school, self.device, "presence")
        assert self._client is not None
        return self._client.publish(topic, wire.encode_presence(presence), qos=1)

    def _say_hello(self, now: float) -> None:
        self._say("online")
        self._hello_again, self._hello_wait = now + self._hello_wait, min(self._hello_wait * 2, CONNECT_WAIT_MAX)
        self._expect_inventory()  # the answer may say that it is known

    def _expect_inventory(self) -> None:
        if self._inventory.hash:
            self._inventory_at = self._clock() + random.uniform(*self._inventory_spread)
            self._inventory_wait, self._inventory_spread = 2 * self.interval, INVENTORY_LATER

    def _publish(self) -> None:
        now, client = self._clock(), self._client
        assert client is not None
        if not self.wallclock.settled:  # the answer to a hello brings the time
            if now >= self._hello_again:
                self._say_hello(now)
            return
        for body in self.window.messages():
            client.publish(wire.up_topic(self.school, self.device, "report"), body, qos=1)
        if now >= self._inventory_at:
            self._inventory_at, self._inventory_wait = (
                now + self._inventory_wait,
                min(self._inventory_wait * 2, AGAIN_MAX),
            )
            topic = wire.up_topic(self.school, self.device, "inventory")
            client.publish(topic, encode_inventory(self._inventory), qos=1)
