"""NATS with JetStream as the MQTT broker: nats-server asks us who may come in (its auth callout); we sign the answer.

The server keeps no list of devices: each CONNECT is decided from the roster, a live connection is ended by its number.
While no collector answers, connected devices stay and nobody new comes in. How the server runs: ``natsconfig.py``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import nkeys  # type: ignore[import-untyped]
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.natsconfig import PORTS
from schoolpulse_collector.roster import Roster, Sender
from schoolpulse_collector.subscriber import CLIENT_ID

log = logging.getLogger(__name__)

OTHERS = 0.3  # seconds to wait for another server of a cluster after one has answered
AGAIN = 0.2  # seconds between attempts to reach the server
START = 2.0  # seconds that a start waits for the server
_SAFE_WORD = re.compile(r"[A-Za-z0-9_-]+").fullmatch  # what may stand in a permission: no dot, no wildcard

# JetStream's streams for MQTT, which the server would make without bounds. Nothing leans on what they keep.
_STREAMS: dict[str, dict[str, Any]] = {
    # What waits for the collector: the oldest is dropped, and comes again because it has no receipt.
    "$MQTT_msgs": {"subjects": ["$MQTT.msgs.>"], "retention": "interest", "max_bytes": 200_000_000},
    # Nothing is retained: one byte is less than any message with its header.
    "$MQTT_rmsgs": {"subjects": ["$MQTT.rmsgs.>"], "retention": "limits", "max_msgs_per_subject": 1, "max_msg_size": 1},
}


class Nats:
    """Answers nats-server's question who may come in, in a thread of its own, for as long as it runs."""

    def __init__(self, folder: Path, roster: Roster, counters: Counters, server: str = "nats://127.0.0.1:4222") -> None:
        """``folder``: where `natsconfig.server_config` wrote. Raises OSError if it did not."""
        self.collector_password = (folder / "collector.password").read_text()
        self._issuer = nkeys.from_seed(bytearray((folder / "issuer.nk").read_bytes()))
        self._seeds = {who: (folder / f"{who}.nk").read_text() for who in ("callout", "streams")}
        self._roster, self._counters, self._server = roster, counters, server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="nats", daemon=True)
        self._callout: Client | None = None  # while the server asks us
        self._ending, self._asked = asyncio.Event(), threading.Event()
        self.mqtt_port = 8883

    @classmethod
    def open(cls, folder: Path, roster: Roster, counters: Counters) -> Self:
        """For the server whose folder `natsconfig.server_config` made. Raises OSError, ValueError."""
        ports = json.loads((folder / PORTS).read_text(encoding="utf-8"))
        made = cls(folder, roster, counters, f"nats://127.0.0.1:{ports['nats']}")
        made.mqtt_port = ports["mqtt"]
        return made

    @property
    def answering(self) -> bool:
        """Whether the server reaches us now."""
        return self._callout is not None

    def start(self) -> None:
        """Begin; a server that is not there yet, or goes away, is tried again and again."""
        self._thread.start()
        self._asked.wait(START)  # who comes in before it can ask us waits 5 s and is refused: our own collector, first

    def changed(self, senders: Sequence[Sender], cut: Sequence[str]) -> None:
        """End the connections of ``cut``; the roster, which knows ``senders`` already, keeps them from coming back."""
        if not cut:
            return
        cutting = asyncio.run_coroutine_threadsafe(self._cut(cut), self._loop)
        try:
            cutting.result(10 + len(cut) / 100)
        except (NatsError, OSError) as why:
            cutting.cancel()
            raise BrokerDown(f"NATS at {self._server} can't be told to end connections: {why!r}; try again") from why

    def stop(self) -> None:
        """End the thread. Devices stay connected; nobody new comes in."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        ending, said = asyncio.create_task(self._ending.wait()), ""
        while not ending.done():
            session = asyncio.create_task(self._session())
            await asyncio.wait({session, ending}, return_when=asyncio.FIRST_COMPLETED)
            session.cancel()
            why = (await asyncio.gather(session, return_exceptions=True))[0]
            if not ending.done() and repr(why) != said:
                said = repr(why)
                log.warning("NATS at %s does not ask us: %s; trying again", self._server, why or "connection lost")
            await asyncio.wait({ending}, timeout=AGAIN)

    async def _session(self) -> None:
        """Connect and answer until the server goes away. A new client each time: nats-py gives up after some errors."""
        lost = asyncio.Event()
        async with AsyncExitStack() as clients:
            streams, callout = [await self._client(who, lost, clients) for who in ("streams", "callout")]
            for name, bounds in _STREAMS.items():
                await _bound(streams, name, bounds)
            await callout.subscribe("$SYS.REQ.USER.AUTH", "collectors", self._answer)
            await callout.flush()
            log.info("answering NATS at %s", self._server)
            self._callout = callout
            self._asked.set()
            try:
                await lost.wait()
            finally:
                self._callout = None

    async def _client(self, who: str, lost: asyncio.Event, clients: AsyncExitStack) -> Client:
        async def closed() -> None:
            lost.set()

        async def failed(why: Exception) -> None:
            log.debug("NATS at %s: %r", self._server, why)

        client = Client()
        clients.push_async_callback(client.close)
        await client.connect(
            self._server,
            nkeys_seed_str=self._seeds[who],
            allow_reconnect=False,
            closed_cb=closed,
            error_cb=failed,
            ping_interval=10,
            connect_timeout=5,
        )
        return client

    async def _answer(self, question: Msg) -> None:
        """Sign who this is and what it may do, or say no."""
        asked = _claims(question.data)["nats"]
        options = asked["connect_opts"]
        name, secret, client_id = options.get("user", ""), options.get("pass", ""), asked["client_info"].get("mqtt_id")
        try:
            may = self._permissions(name, secret) if name == client_id else None
        except Exception:  # no database, most likely: say no and go on
            log.exception("who %.64r is can't be looked up", name)
            may = None
        answer: dict[str, Any] = {"type": "authorization_response", "version": 2}
        if may:
            answer["jwt"] = self._signed(asked["user_nkey"], "DEV", name, may).decode()
        else:
            self._counters.broker_refused.labels("login").inc()
            log.warning("login refused: user %.64r, client id %.64r", name, client_id)
            answer["error"] = "not admitted"
        await question.respond(self._signed(asked["user_nkey"], asked["server_id"]["id"], name, answer))

    def _permissions(self, name: str, secret: str) -> dict[str, Any] | None:
        """What a user may do, None if it may not come in: the same rules as ``deploy/mosquitto/acl``."""
        if name == CLIENT_ID:
            good = secrets.compare_digest(secret.encode(), self.collector_password.encode())
            write, read = ["sp.v1.down.>"], ["sp.v1.up", "sp.v1.up.>", "$MQTT.sub.>"]  # the last one: QoS 1
        else:
            good = bool(_SAFE_WORD(name)) and self._roster.admits(name, secret)
            write, read = [f"sp.v1.up.*.{name}.>"], [f"sp.v1.down.{name}.>"]
        limits = {"subs": 20, "data": -1, "payload": -1, "allowed_connection_types": ["MQTT"]}
        may = {"type": "user", "version": 2, "pub": {"allow": write}, "sub": {"allow": read}, **limits}
        return may if good else None

    def _signed(self, subject: str, audience: str, name: str, content: dict[str, Any]) -> bytes:
        """A JWT in NATS's form: Ed25519, signed by the key that the server's configuration names as issuer."""
        issuer = self._issuer.public_key.decode()
        claims = {"jti": secrets.token_hex(16), "iat": int(time.time()), "iss": issuer, "sub": subject}
        claims |= {"aud": audience, "name": name, "nats": content}
        text = _coded({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + _coded(claims)
        return text + b"." + _base64(self._issuer.sign(text))

    async def _cut(self, devices: Sequence[str]) -> None:
        callout = self._callout
        if callout is None:
            raise ConnectionError("not connected")
        found = await asyncio.gather(*(_connections(callout, device) for device in devices))
        kicks = [(f"$SYS.REQ.SERVER.{server}.KICK", {"cid": number}) for each in found for server, number in each]
        # The server does nothing for who wants no answer; an error in it says that the connection is gone already.
        await asyncio.gather(*(callout.request(what, json.dumps(who).encode(), 2) for what, who in kicks))


async def _connections(callout: Client, device: str) -> list[tuple[str, int]]:
    """Where a device is connected, or just coming in: (server, connection number), from every server there is.

    Raises TimeoutError if none answers.
    """
    inbox = callout.new_inbox()
    answers = await callout.subscribe(inbox)
    await callout.publish("$SYS.REQ.SERVER.PING.CONNZ", json.dumps({"mqtt_client": device}).encode(), inbox)
    heard = [await answers.next_msg(5)]
    with contextlib.suppress(TimeoutError):
        while True:
            heard.append(await answers.next_msg(OTHERS))
    await answers.unsubscribe()
    said = [json.loads(answer.data) for answer in heard]
    return [(each["server"]["id"], one["cid"]) for each in said for one in each["data"]["connections"]]


async def _bound(streams: Client, name: str, bounds: dict[str, Any]) -> None:
    """Have a stream within bounds, before MQTT makes it without or after it did. Raises OSError if that can't be."""
    config = json.dumps({"name": name, "storage": "file", "num_replicas": 1, "discard": "old", **bounds}).encode()
    answer: dict[str, Any] = {}
    for verb in ("CREATE", "UPDATE"):
        answer = json.loads((await streams.request(f"$JS.API.STREAM.{verb}.{name}", config, 5)).data)
    if "error" in answer:
        raise OSError(f"stream {name}: {answer['error'].get('description')}")


def _claims(token: bytes) -> dict[str, Any]:
    """What a JWT says; from the server's own account, where nobody else can write."""
    body = token.split(b".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    return claims


def _coded(content: dict[str, Any]) -> bytes:
    return _base64(json.dumps(content, separators=(",", ":")).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
