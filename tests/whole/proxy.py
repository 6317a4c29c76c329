"""A TCP proxy that understands MQTT packets: cuts, drops, doubles, swaps or cuts short what passes, as it is told."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

PUBLISH = 3
Packets = list[bytes]
Meddle = Callable[[bytes], Packets]  # one packet in, what goes on instead


class Proxy(threading.Thread):
    """Listens on ``port`` and connects to ``target``. ``up`` meddles with what clients send, ``down`` with answers."""

    def __init__(self, port: int, target: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.port, self.target = port, target
        self.chance = random.Random(seed)
        self.up: Meddle = self.pass_on
        self.down: Meddle = self.pass_on
        self.open = True
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    def start(self) -> None:
        super().start()
        self._ready.wait()

    def cut(self) -> None:
        """End all connections and take no new ones."""
        self.open = False
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])

    def mend(self) -> None:
        self.open = True

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()

    @staticmethod
    def pass_on(packet: bytes) -> Packets:
        return [packet]

    def lose(self, packet: bytes) -> Packets:
        """Three of ten PUBLISH packets vanish."""
        return [] if packet[0] >> 4 == PUBLISH and self.chance.random() < 0.3 else [packet]

    def spoil(self, packet: bytes) -> Packets:
        """PUBLISH packets are doubled, held back behind the next one, or lose the end of their payload."""
        held, self._held = getattr(self, "_held", None), None
        found = [packet] if held is None else [packet, held]
        if packet[0] >> 4 != PUBLISH:
            return found
        dice = self.chance.random()
        if dice < 0.2:
            return [packet, *found]
        if dice < 0.3 and held is None:
            self._held = packet
            return []
        if dice < 0.4:
            return [shortened(packet), *found[1:]]
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            if self.open:
                there = await asyncio.open_connection("127.0.0.1", self.target)
                await asyncio.wait(
                    [
                        asyncio.ensure_future(self._carry(reader, there[1], "up")),
                        asyncio.ensure_future(self._carry(there[0], writer, "down")),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                there[1].close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while self.open:
                for packet in getattr(self, way)(await read_packet(reader)):
                    writer.write(packet)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    """One whole MQTT packet."""
    head = await reader.readexactly(1)
    size, shift = 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        size |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return head + await reader.readexactly(size)


def shortened(packet: bytes) -> bytes:
    """A PUBLISH packet with 20 bytes of its payload missing, and right in itself."""
    start = 1
    while packet[start] >= 128:
        start += 1
    body = packet[start + 1 :]
    topic = int.from_bytes(body[:2], "big")
    if len(body) < topic + 4 + 40:
        return packet
    body, size, length = body[:-20], len(body) - 20, b""
    while True:
        size, low = size >> 7, size & 127
        length += bytes([low | (128 if size else 0)])
        if not size:
            return packet[:1] + length + body
