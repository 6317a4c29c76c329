"""amqtt, mended where it is unsound: who comes in, packet sizes, TLS, retaining, how messages and connections end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as Amqtt
from amqtt.contexts import Action
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin

from schoolpulse_agent.wire import MAX_BYTES
from schoolpulse_collector.door import Door

MAX_PACKET = 2 * MAX_BYTES
HELLO = 10.0  # seconds a new connection has for its TLS handshake, and as long to say who it is
GOODBYE = 0.5  # seconds a connection that we close has to take what was sent to it


class AtTheDoor(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """amqtt's way to ask the door."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin."""

        door: Door

    async def authenticate(self, *, session: Any) -> bool:
        """Called by amqtt right before a session counts as connected: it may have been cut since its CONNECT."""
        return bool(getattr(session, "admitted", False)) and self.config.door.keeps(session.username or "")

    async def topic_filtering(
        self, *, session: Any = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Called for each publish and subscription."""
        return self.config.door.allows(session.username or "", str(action), topic or "")  # type: ignore[no-any-return]


class _Connection(BrokerProtocolHandler):  # type: ignore[misc]
    """One client's."""

    async def stop(self) -> None:
        """As amqtt's, which waits for ever if its reader is cancelled before it has begun, or overhears it."""
        if self.writer:
            await self.writer.close()  # first: so the reader ends in any case, and the connection does
        if self._reader_task:
            for instant in (self._reader_ready, self._reader_stopped):
                self._reader_task.add_done_callback(lambda _, instant=instant: instant.set())
        await super().stop()

    def handle_read_timeout(self) -> None:
        """Amqtt notes that a keep-alive ran out and goes on; MQTT-3.1.2-24 wants the connection closed."""
        if self._disconnect_waiter and not self._disconnect_waiter.done():
            self._disconnect_waiter.set_result(None)


class BoundedReader(StreamReaderAdapter):  # type: ignore[misc]
    """Ends a connection that announces a packet larger than any of ours."""

    async def read(self, n: int = -1) -> bytes:
        """As its parent, up to a size."""
        if n > MAX_PACKET:
            raise OSError(f"a packet of {n} bytes")  # amqtt goes on after a ConnectionResetError
        return await super().read(n)  # type: ignore[no-any-return]


class ClosingWriter(StreamWriterAdapter):  # type: ignore[misc]
    """Closes without waiting for the peer: amqtt's waits until it reads, or answers TLS' goodbye, half a minute."""

    is_closed: bool

    async def close(self) -> None:
        """Send what was written, as far as the peer takes it soon, and close."""
        if not self.is_closed:
            self.is_closed = True
            self._writer.close()
            asyncio.get_running_loop().call_later(GOODBYE, self._abort)

    def _abort(self) -> None:
        with suppress(AttributeError):  # Python before 3.11.3, of a TLS connection that has closed since
            self._writer.transport.abort()


class Mended(Amqtt):  # type: ignore[misc]
    """The broker."""

    def __init__(self, config: dict[str, Any], door: Door, context: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self.door, self._context = door, context
        self._newest: dict[str, Any] = {}  # client id -> the session that came last

    async def cut(self, names: Sequence[str]) -> None:
        """End the connections of these clients."""
        for name in names:
            await self._cleanup_session(name)

    def _create_ssl_context(self, _listener: Any) -> ssl.SSLContext | None:
        """Amqtt's takes any version of TLS, and certificates of clients that nobody looks at."""
        return self._context

    async def _create_server_instance(
        self, listener_name: str, _type: Any, address: str | None, port: int, ssl_context: ssl.SSLContext | None
    ) -> asyncio.Server:
        """As amqtt's for TCP, but a handshake that makes no progress ends."""
        connected = partial(self.stream_connected, listener_name=listener_name)
        return await asyncio.start_server(
            connected,
            address,
            port,
            reuse_address=True,
            ssl=ssl_context,
            ssl_handshake_timeout=HELLO if ssl_context else None,
            ssl_shutdown_timeout=GOODBYE if ssl_context else None,
        )

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
        self._newest[session.client_id] = session
        await self._cleanup_session(session.client_id)  # one connection a device: the newest
        session.clean_session, session.parent = True, 0
        session.keep_alive = int(session.keep_alive * 1.5)
        return handler, session

    async def _authenticate(self, session: Any, listener: Any) -> bool:
        """Amqtt's last question before it lists a session as its client's, in place of any other it has listed."""
        allowed = bool(await super()._authenticate(session, listener))
        if self._newest.get(session.client_id) is not session:  # nobody could cut one that is not listed
            raise MQTTError(f"{session.client_id}: a newer connection came while this one came in")
        return allowed

    async def _handle_client_session(self, reader: Any, writer: Any, session: Any, *more: Any) -> None:
        """As amqtt's, and however it ends the connection does too."""
        name = session.client_id
        try:
            await super()._handle_client_session(reader, writer, session, *more)
        finally:
            if self._newest.get(name) is session:
                del self._newest[name]
            await writer.close()

    async def stream_connected(self, reader: Any, writer: Any, listener_name: str) -> None:
        """Amqtt reads packets of any size into memory."""
        await self._client_connected(listener_name, BoundedReader(reader), ClosingWriter(writer))

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
