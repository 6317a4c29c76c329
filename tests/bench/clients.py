"""Many MQTT clients over TLS, cheap enough to have thousands: raw asyncio, in processes of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import secrets
import ssl
from pathlib import Path
from typing import Any

PROCESSES = min(4, os.cpu_count() or 1)
A_PROCESS_OPENS_AT_ONCE = 50
A_SOURCE_ADDRESS = 20_000  # connections from one address, within the ports that a system gives out


class Clients:
    """``count`` devices with secrets; counts that all processes share."""

    def __init__(self, count: int, spread: float) -> None:
        self.count, self._spread = count, spread
        self.secrets = {f"d{number:016x}": secrets.token_urlsafe(32) for number in range(count)}
        self._context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks as they are
        self.connected, self.attempts, self.received = (self._context.Value("q", 0) for _ in range(3))
        self._processes: list[Any] = []

    def start(self, port: int, ca: Path, ramp: float) -> None:
        """Let them come in at random within ``ramp`` seconds, and whenever they are cut off, within the spread."""
        every = list(enumerate(self.secrets.items()))
        for part in range(PROCESSES):
            mine = every[part::PROCESSES]
            counts = (self.connected, self.attempts, self.received)
            process = self._context.Process(
                target=_live, args=(mine, port, ca, ramp, self._spread, counts), daemon=True
            )
            process.start()
            self._processes.append(process)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _live(devices: list[Any], port: int, ca: Path, ramp: float, spread: float, counts: tuple[Any, ...]) -> None:
    asyncio.run(_all(devices, port, ca, ramp, spread, counts))


async def _all(devices: list[Any], port: int, ca: Path, ramp: float, spread: float, counts: tuple[Any, ...]) -> None:
    context, gate = ssl.create_default_context(cafile=ca), asyncio.Semaphore(A_PROCESS_OPENS_AT_ONCE)

    async def device(number: int, name: str, secret: str) -> None:
        wait = ramp
        while True:
            await asyncio.sleep(random.random() * wait)
            wait = spread
            address = (f"127.0.0.{1 + number // A_SOURCE_ADDRESS}", 0)
            try:
                async with gate:
                    _count(counts[1], 1)
                    reader, writer = await asyncio.wait_for(_connect(port, context, address, name, secret), 20)
            except (OSError, asyncio.IncompleteReadError, PermissionError):
                continue
            _count(counts[0], 1)
            try:
                await _listen(reader, counts[2], name.encode())
            finally:
                _count(counts[0], -1)
                writer.transport.abort()

    await asyncio.gather(*(device(number, name, secret) for number, (name, secret) in devices))


async def _connect(port: int, context: ssl.SSLContext, address: tuple[str, int], name: str, secret: str) -> Any:
    """CONNECT with a clean session and SUBSCRIBE, QoS 0. Raises PermissionError if the broker refuses either."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, local_addr=address, limit=4096, ssl_handshake_timeout=20
    )
    try:
        hello = _text("MQTT") + b"\x04\xc2" + (600).to_bytes(2, "big") + _text(name) + _text(name) + _text(secret)
        writer.write(b"\x10" + bytes([len(hello)]) + hello)
        if (await reader.readexactly(4))[3] != 0:
            raise PermissionError("CONNECT refused")
        wanted = b"\x00\x01" + _text(f"sp/v1/down/{name}/receipt") + b"\x00"
        writer.write(b"\x82" + bytes([len(wanted)]) + wanted)
        if (await reader.readexactly(5))[4] > 2:
            raise PermissionError("SUBSCRIBE refused")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def _listen(reader: asyncio.StreamReader, received: Any, wanted: bytes) -> None:
    """Count the messages that are meant for this device until the connection ends."""
    try:
        while True:
            kind, length = await reader.readexactly(2)
            body = await reader.readexactly(length)  # ours are short: one byte of length
            if kind >> 4 == 3 and body.endswith(b"/receipt" + wanted):
                _count(received, 1)
    except (OSError, asyncio.IncompleteReadError):
        return


def _count(counter: Any, change: int) -> None:
    with counter.get_lock():
        counter.value += change


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
