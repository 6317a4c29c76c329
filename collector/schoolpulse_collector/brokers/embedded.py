"""The embedded MQTT broker: amqtt, in a thread and event loop of its own, with our own doorkeeper.

Nothing leans on what it keeps: it queues nothing for anybody who is away, and what it loses the senders send again.
For one school to a few dozen; a city runs mosquitto (``brokers/mosquitto.py``) by the same rules. Plain TCP is for this
machine only: what comes from elsewhere comes by TLS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schoolpulse_collector.amqttmended import AtTheDoor, Mended
from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.door import Door
from schoolpulse_collector.roster import Sender

__all__ = ["Broker", "Door", "Tls"]

log = logging.getLogger(__name__)

LOOK = 60.0  # seconds between looks whether the certificate's file is another
CUT = 5.0  # seconds after which a cut is given up


@dataclass(frozen=True)
class Tls:
    """Where devices come in by TLS, and as whom the broker shows itself: files in PEM, followed when they change."""

    host: str
    port: int
    certfile: Path
    keyfile: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, with the certificate as it is now. Raises OSError."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load(made)
        return made

    def load(self, context: ssl.SSLContext) -> None:
        """Show the certificate as it is now to those who connect from now on. Raises OSError."""
        try:
            context.load_cert_chain(self.certfile, self.keyfile)
        except OSError as why:
            raise OSError(f"TLS with {self.certfile} and {self.keyfile}: {why}") from why

    def age(self) -> int:
        """Changes when the certificate does."""
        with suppress(OSError):
            return self.certfile.stat().st_mtime_ns
        return 0


class Broker(threading.Thread):
    """Runs the broker until stopped."""

    def __init__(self, host: str, port: int, door: Door, tls: Tls | None = None) -> None:
        """``host`` and ``port``: for this machine, without TLS. Raises ValueError for another machine's address."""
        if not _is_loopback(host):
            raise ValueError(f"MQTT without TLS on {host}: it is for 127.0.0.1 only; give devices the port with TLS")
        super().__init__(name="broker", daemon=True)
        self._listeners = {"default": {"type": "tcp", "bind": f"{host}:{port}"}}
        if tls:
            self._listeners["tls"] = {"type": "tcp", "bind": f"{tls.host}:{tls.port}", "ssl": True}  # type: ignore[dict-item]
        self._door, self._tls = door, tls
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._failure: BaseException | None = None
        self._ending: asyncio.Event | None = None
        self._broker: Mended | None = None

    def start(self) -> None:
        """Return when it listens. Raises OSError, as when a port is taken."""
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.ERROR)  # a line for each connection and packet otherwise
        super().start()
        self._listening.wait()
        if self._failure:
            raise OSError(str(self._failure))

    def changed(self, senders: Sequence[Sender], cut: Sequence[str]) -> None:
        """End the connections of ``cut``; who may come in is asked at each connect. Raises BrokerDown."""
        if not cut:
            return
        self._door.look_again()  # or those who were cut could come back within the roster's second
        broker = self._broker
        if broker is None or not self.is_alive():
            raise BrokerDown("the embedded broker is not running: it may be starting or stopping")
        ending = asyncio.run_coroutine_threadsafe(broker.cut(cut), self._loop)
        try:
            ending.result(CUT)
        except TimeoutError:
            ending.cancel()
            raise BrokerDown(f"the embedded broker has not ended connections within {CUT:.0f} s") from None

    def run(self) -> None:
        """The thread: one event loop for amqtt."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def stop(self) -> None:
        """Close all connections and the ports."""
        if self._ending and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)
        self.join()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        plugins = {f"{AtTheDoor.__module__}.{AtTheDoor.__name__}": {"door": self._door}}
        try:
            context = self._tls.context() if self._tls else None
            broker = Mended({"listeners": self._listeners, "plugins": plugins}, self._door, context)
            await broker.start()
            self._broker = broker
        except Exception as why:  # handed to the caller of start
            self._failure = why
            return
        finally:
            self._listening.set()
        await self._follow_certificate(context, self._ending)
        self._broker = None
        await broker.shutdown()

    async def _follow_certificate(self, context: ssl.SSLContext | None, ending: asyncio.Event) -> None:
        """Until the end, look whether the certificate was renewed."""
        age = self._tls.age() if self._tls else 0
        while not ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), LOOK)
            if self._tls and context and self._tls.age() != age:
                try:
                    self._tls.load(context)
                    age = self._tls.age()
                except OSError as why:
                    log.error("the broker goes on with its old certificate: %s", why)


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
