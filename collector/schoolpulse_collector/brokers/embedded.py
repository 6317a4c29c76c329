"""The embedded MQTT broker: amqtt, in a thread and event loop of its own, with our own doorkeeper.

Nothing leans on what it keeps: it queues nothing for anybody who is away, and what it loses the senders send again.
For one school to a few dozen; a city runs mosquitto (``deploy/mosquitto/``) by the same rules.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import threading
from dataclasses import dataclass
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as Amqtt
from amqtt.contexts import Action
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin

from schoolpulse_agent.wire import MAX_BYTES
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.subscriber import CLIENT_ID

log = logging.getLogger(__name__)

MAX_PACKET = 2 * MAX_BYTES
HELLO = 10.0  # seconds a new connection has to say who it is
_DEVICE_MAY_WRITE = re.compile(r"sp/v1/up/[^/+#]+/(?P<device>[^/+#]+)/[^+#]+").fullmatch
_DEVICE_MAY_READ = re.compile(r"sp/v1/down/(?P<device>[^/+#]+)/.+").fullmatch


class Door:
    """Who may come in, and who may write and read what: the same rules as ``deploy/mosquitto/acl``."""

    def __init__(self, roster: Roster, counters: Counters) -> None:
        self.collector_password = secrets.token_urlsafe(32)  # for this process's own collector, new at each start
        self._roster, self._counters = roster, counters
        self._came_with: dict[str, str] = {}  # device -> the hash its secret matched when it came in

    def admits(self, client_id: str, name: str, password: str) -> bool:
        """User name and client id are the device's id, or the collector's."""
        if client_id == name == CLIENT_ID:
            good = secrets.compare_digest(password.encode(), self.collector_password.encode())
        else:
            good = client_id == name and self._roster.admits(name, password)
            sender = self._roster.get(name) if good else None
            if sender:
                self._came_with[name] = sender.secret_hash
        if not good:
            self._counters.broker_refused.labels("login").inc()
            log.warning("login refused: user %.64r, client id %.64r", name, client_id)
        return good

    def allows(self, name: str, action: str, topic: str) -> bool:
        """A device writes under its own id, in any school, and reads what is for it; the collector the opposite."""
        if name == CLIENT_ID:
            good = topic.startswith("sp/v1/down/" if action == "publish" else "sp/v1/up/")
        else:
            found = (_DEVICE_MAY_WRITE if action == "publish" else _DEVICE_MAY_READ)(topic)
            sender = self._roster.get(name)  # revoked, or given a new secret, since it came in?
            known = sender is not None and sender.secret_hash == self._came_with.get(name)
            good = known and found is not None and found["device"] == name
        if not good:
            self._counters.broker_refused.labels(action).inc()
            log.warning("%s refused: device %.64r, topic %.120r", action, name, topic)
        return good


class AtTheDoor(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """amqtt's way to ask the door."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin."""

        door: Door

    async def authenticate(self, *, session: Any) -> bool:
        """Called by ``_Amqtt`` for each CONNECT, and once more by amqtt itself."""
        return bool(getattr(session, "admitted", False))

    async def topic_filtering(
        self, *, session: Any = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Called for each publish and subscription."""
        return self.config.door.allows(session.username or "", str(action), topic or "")  # type: ignore[no-any-return]


class _Connection(BrokerProtocolHandler):  # type: ignore[misc]
    """amqtt notes that a keep-alive ran out and goes on; MQTT-3.1.2-24 wants the connection closed."""

    def handle_read_timeout(self) -> None:
        if self._disconnect_waiter and not self._disconnect_waiter.done():
            self._disconnect_waiter.set_result(None)


class BoundedReader(StreamReaderAdapter):  # type: ignore[misc]
    """Ends a connection that announces a packet larger than any of ours."""

    async def read(self, n: int = -1) -> bytes:
        """As its parent, up to a size."""
        if n > MAX_PACKET:
            raise OSError(f"a packet of {n} bytes")  # amqtt goes on after a ConnectionResetError
        return await super().read(n)  # type: ignore[no-any-return]


class _Amqtt(Amqtt):  # type: ignore[misc]
    """amqtt, mended where it is unsound: who comes in, packet sizes, retaining, how a message finds its readers."""

    def __init__(self, config: dict[str, Any], door: Door) -> None:
        super().__init__(config)
        self.door = door

    async def _initialize_client_session(self, reader: Any, writer: Any, address: str, port: int) -> tuple[Any, Any]:
        """Credentials first: amqtt lets any CONNECT end the session whose client id it names."""
        try:
            hello = _Connection.init_from_connect(reader, writer, self.plugins_manager)
            handler, session = await asyncio.wait_for(hello, HELLO)
        except (AMQTTError, MQTTError, NoDataError):
            await writer.close()
            raise
        except Exception as why:
            await writer.close()
            raise MQTTError(f"no CONNECT from {address}: {type(why).__name__}") from why
        name, will = session.username or "", session.will_topic
        session.admitted = self.door.admits(session.client_id or "", name, session.password or "") and (
            not session.will_flag or (not session.will_retain and self.door.allows(name, "publish", will or ""))
        )
        if not session.admitted:
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise MQTTError(f"{address}: not authorized")
        await self._cleanup_session(session.client_id)  # one connection a device: the newest
        session.clean_session, session.parent = True, 0
        session.keep_alive = int(session.keep_alive * 1.5)
        return handler, session

    async def stream_connected(self, reader: Any, writer: Any, listener_name: str) -> None:
        """Amqtt reads packets of any size into memory."""
        await self._client_connected(listener_name, BoundedReader(reader), StreamWriterAdapter(writer))

    async def retain_message(self, *_: Any, **__: Any) -> None:
        """Nothing is retained: amqtt would send it to every client that connects, whoever it is for."""

    async def _run_broadcast(self, running_tasks: Any) -> None:
        """Hand one message to its subscribers; amqtt's own loses it when somebody subscribes at that moment."""
        message = await self._broadcast_queue.get()
        for topics, subscriptions in self._subscriptions.items():  # no await in this loop
            if not self._matches(message["topic"], topics):
                continue
            for session, qos in subscriptions:
                handler = self._get_handler(session)
                if handler and session.transitions.state == "connected":
                    sending = handler.mqtt_publish(message["topic"], message["data"], qos, retain=False)
                    running_tasks.append(asyncio.ensure_future(sending))


class Broker(threading.Thread):
    """Runs the broker until stopped."""

    def __init__(self, host: str, port: int, door: Door) -> None:
        super().__init__(name="broker", daemon=True)
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {f"{__name__}.{AtTheDoor.__name__}": {"door": door}},
        }
        self._door = door
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._failure: BaseException | None = None
        self._ending: asyncio.Event | None = None

    def start(self) -> None:
        """Return when it listens. Raises OSError, as when the port is taken."""
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.ERROR)  # a line for each connection and packet otherwise
        super().start()
        self._listening.wait()
        if self._failure:
            raise OSError(str(self._failure))

    def run(self) -> None:
        """The thread: one event loop for amqtt."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def stop(self) -> None:
        """Close all connections and the port."""
        if self._ending and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)
        self.join()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        try:
            broker = _Amqtt(self._config, self._door)
            await broker.start()
        except Exception as why:  # handed to the caller of start
            self._failure = why
            return
        finally:
            self._listening.set()
        await self._ending.wait()
        await broker.shutdown()
