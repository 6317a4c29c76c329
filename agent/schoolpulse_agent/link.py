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
from dataclasses import dataclass
from typing import Any, Callable

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from schoolpulse_agent import tls, wire
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.settings import Settings
from schoolpulse_agent.wallclock import WallClock

log = logging.getLogger(__name__)

WINDOW = 3  # messages published and not yet receipted
AGAIN_MAX = 1800.0  # seconds: an unreceipted message goes again after 2 intervals, doubling up to this
CONNECT_WAIT_MAX = 300.0
KEEPALIVE = 60
CONNACK = 10.0  # seconds a broker has to answer
REJECTED = (134, 135)  # "bad user name or password" and "not authorized", in MQTT 5's numbers as paho has them
UNREADABLE = 60.0  # seconds until a backlog that can't be read is tried again
SIZE = wire.MAX_BYTES - 1024  # of the records in one message, before zipping


@dataclass
class Sent:
    """One message of reports that waits for its receipt."""

    epoch: int
    seqs: Ranges
    wait: float
    again: float  # when to publish it again


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
        self.wallclock = wallclock
        self._secret, self._ca_file, self._own = settings.secret(), settings.ca_file(), settings.certificate()
        self._hardware = hardware  # fingerprint of this machine
        self._clock = clock
        self._client: mqtt.Client | None = None
        self._session, self._dates_checked = "", False
        self._sent: list[Sent] = []
        self._connect_at = self._connack_by = 0.0
        self._unreadable: dict[int, float] = {}  # epoch -> until when its backlog is left alone
        self._connect_wait = 1.0
        self._replay_at = 0.0
        self._replay_rate = settings.reports.replay_rate  # messages a second; 0: the collector wants none for now
        self._hello_again = self._hello_wait = 0.0
        self._live_from = 1  # reports of this epoch from here on are live, all others backlog

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
        times = [sent.again for sent in self._sent] + [self._clock() + KEEPALIVE / 2]
        if self.connected and self._replay_rate and len(self._sent) < WINDOW and self._unsent()[1]:
            times.append(self._replay_at)
        return min(times)

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

    def close(self, patience: float = 2.0) -> None:
        """Say goodbye, so that nobody takes this for a failure, and take the receipts that are on their way."""
        client, end = self._client, self._clock() + patience
        if client and self.connected:
            bye = self._say("bye")
            while client.socket() and self._clock() < end and (self._sent or not bye.is_published()):
                self._pump(client)
                self._sent = [sent for sent in self._sent if self._still_held(sent)]
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
            client.connect(broker.host, broker.port, keepalive=KEEPALIVE)
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
        client.subscribe(wire.down_topic(self.device, "receipt"), qos=0)
        self._hello_wait = 2 * self.settings.reports.interval
        self._say_hello(self._clock())
        self._sent.clear()  # whatever has no receipt goes again on the new connection
        held = self.outbox.held().get(self.outbox.epoch)
        newest = list(held)[-1][1] if held else self.outbox.low(self.outbox.epoch)
        self._live_from = newest
        self._replay_at = self._clock() + random.random() * self.settings.reports.replay_spread

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
        if message.topic != wire.down_topic(self.device, "receipt"):
            return
        try:
            receipt = wire.decode_receipt(bytes(message.payload))
        except wire.BadReport as why:
            log.warning("unreadable receipt: %s", why)
            return
        if not self._in_date(receipt.now):
            return
        self.receipts += 1
        first = not self.wallclock.settled
        moved = self.wallclock.learn(receipt.now)
        if first:  # nothing of this start has been published yet: now it can get its final time
            self.outbox.restamp(moved)
        self._pace(receipt.replay)
        self.outbox.receipt(receipt.epochs)
        self._sent = [sent for sent in self._sent if self._still_held(sent)]

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

    def _pace(self, replay: float | None) -> None:
        """Take over the collector's word on how fast to send the backlog."""
        if replay is None:
            return
        if replay and not self._replay_rate:  # after a pause, not all at once
            self._replay_at = self._clock() + random.random() * self.settings.reports.replay_spread
        self._replay_rate = replay

    def _say(self, state: str) -> mqtt.MQTTMessageInfo:
        interval = self.settings.reports.interval
        presence = wire.Presence(
            state, self._session, self.outbox.epoch, self.wallclock.raw(), interval, self._hardware
        )
        topic = wire.up_topic(self.school, self.device, "presence")
        assert self._client is not None
        return self._client.publish(topic, wire.encode_presence(presence), qos=1)

    def _say_hello(self, now: float) -> None:
        self._say("online")
        self._hello_again, self._hello_wait = now + self._hello_wait, min(self._hello_wait * 2, CONNECT_WAIT_MAX)

    def _publish(self) -> None:
        now = self._clock()
        if not self.wallclock.settled:  # the answer to a hello brings the time
            if now >= self._hello_again:
                self._say_hello(now)
            return
        for sent in self._sent:
            if now >= sent.again:
                sent.wait = min(sent.wait * 2, AGAIN_MAX)
                sent.again = now + sent.wait
                self._send(sent.epoch, sent.seqs)
        while len(self._sent) < WINDOW:
            found = self._next(now)
            if found is None:
                return
            epoch, wanted = found
            seqs = self._send(epoch, wanted)
            if not seqs:
                self._unreadable[epoch] = now + UNREADABLE
                continue
            wait = 2 * self.settings.reports.interval
            self._sent.append(Sent(epoch, seqs, wait, now + wait))

    def _next(self, now: float) -> tuple[int, Ranges] | None:
        """What to publish next: (epoch, seqs to choose from), live reports before backlog, None if nothing may go."""
        live, backlog = self._unsent()
        if live:
            return self.outbox.epoch, live
        if not backlog or not self._replay_rate or now < self._replay_at:
            return None
        self._replay_at = now + 1 / self._replay_rate
        return next(iter(backlog.items()))

    def _unsent(self) -> tuple[Ranges, wire.Epochs]:
        """What is held and not on its way: live reports, and the backlog by epoch, oldest first."""
        held = self.outbox.held()
        for sent in self._sent:
            for first, last in sent.seqs:
                held.get(sent.epoch, Ranges()).discard(first, last)
        live = Ranges(held.get(self.outbox.epoch, ()))
        live.discard(1, self._live_from - 1)
        if self.outbox.epoch in held:
            held[self.outbox.epoch].discard(self._live_from, wire.TOP)
        now = self._clock()
        backlog = {epoch: seqs for epoch, seqs in held.items() if seqs and self._unreadable.get(epoch, 0.0) <= now}
        return (live if self._unreadable.get(self.outbox.epoch, 0.0) <= now else Ranges()), backlog

    def _still_held(self, sent: Sent) -> bool:
        held = self.outbox.held().get(sent.epoch, Ranges())
        return any(seq in held for seq in sent.seqs.numbers())

    def _send(self, epoch: int, wanted: Ranges) -> Ranges:
        """Publish one message with the lowest wanted reports; return which ones they are."""
        records = self.outbox.read(epoch, wanted, wire.MAX_REPORTS)
        taken, size = Ranges(), 0
        bodies: list[bytes] = []
        for seq, record in records.items():
            size += len(record) + 1
            if bodies and size > SIZE:
                break
            taken.add(seq)
            bodies.append(record)
        if bodies and self._client:
            body = wire.encode(epoch, self.outbox.low(epoch), bodies)
            self._client.publish(wire.up_topic(self.school, self.device, "report"), body, qos=1)
        return taken
