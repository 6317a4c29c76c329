"""What each machine is made of and what its agent runs, as they say it: kept in the registry, then receipted.

The intake hands over and goes on; the registry may be slow or away. What finds no room here, or is lost with this
process, comes again: a sender repeats its inventory until a receipt names it, and says the rest in each hello.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from schoolpulse_agent import wire
from schoolpulse_agent.parts import Inventory
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.registry import SYSTEM, Registry, RegistryDown, agents, equipment
from schoolpulse_collector.registry.agents import Running

log = logging.getLogger(__name__)

GATHER = 0.5  # seconds between two writes
BATCH = 200  # devices of one write: others who change the registry wait for it, 0.1 to 0.3 s
ROOM = 200_000  # values of inventories that may wait, some 3,000 machines: 60 MB if each is as long as can be
RETRY = 5.0  # seconds between two tries of a registry that is away
LOG_EVERY = 60.0
NOTHING = Running()
T = TypeVar("T")


class Fleet(threading.Thread):
    """Takes in inventories and hellos from the intake's thread; a thread of its own writes. Thread-safe."""

    def __init__(self, registry: Registry, send: Callable[[str, bytes], None], counters: Counters) -> None:
        """``send``: publishes (topic, payload). Raises RegistryDown."""
        super().__init__(name="fleet", daemon=True)
        self.works = True  # whether the last write came to its end
        self._registry, self._send, self._counters = registry, send, counters
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._inventories: dict[str, Inventory] = {}  # that wait to be written, the newest of each device
        self._values = 0  # in them
        self._hellos: dict[str, Running] = {}  # that wait to be written
        self._logged = -LOG_EVERY
        with registry.read() as session:
            self._hashes: dict[str, str] = equipment.hashes(session)
            self._running = {device: _running(*said) for device, *said in agents.everything(session)}

    def knows(self, device: str, inventory: str) -> bool:
        """Whether this is the hash of the device's inventory that is durable here."""
        return bool(inventory) and self._hashes.get(device) == inventory

    def running(self, device: str) -> Running:
        """What a device's agent said last."""
        return self._running.get(device, NOTHING)

    def took(self, device: str, inventory: Inventory) -> None:
        """Take in an inventory of a device that the roster knows; it is receipted once it is durable."""
        with self._lock:
            size = _size(inventory)
            before = self._inventories.get(device)
            left = self._values - (_size(before) if before else 0)
            if left + size > ROOM:
                self._counters.inventories_dropped.inc()
                return
            self._inventories[device], self._values = inventory, left + size

    def said(self, device: str, said: wire.Presence) -> None:
        """Take in a presence message of a device that the roster knows."""
        if said.state != "online" or not said.agent:
            return
        new = _running(said.agent, said.config, said.refused)
        if new != self._running.get(device):
            with self._lock:
                self._running[device] = self._hellos[device] = new

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopping.wait(GATHER):
            try:
                while self._keep():
                    pass
                self.works = True
            except RegistryDown as why:
                self.works = False
                if time.monotonic() - self._logged > LOG_EVERY:
                    self._logged = time.monotonic()
                    log.error("%s; inventories wait, and come again", why)
                self._stopping.wait(RETRY)
            except Exception:  # a mistake of ours: what was in hand comes again
                self.works = False
                log.exception("what agents say of themselves can't be kept")
                self._stopping.wait(RETRY)

    def stop(self) -> None:
        """End it; what waits is not written."""
        self._stopping.set()
        self.join()

    def _keep(self) -> bool:
        """Write one batch and send its receipts; whether there may be more. Raises RegistryDown."""
        inventories, hellos = self._take()
        new = {device: said for device, said in inventories.items() if not self.knows(device, said.hash)}
        try:
            if new or hellos:
                self._write(new, hellos)
        except RegistryDown:
            self._put_back(inventories, hellos)
            raise
        for device, said in inventories.items():
            if self.knows(device, said.hash):
                receipt = wire.Receipt(int(time.time() * 1000), {}, None, said.hash)
                self._send(wire.down_topic(device, "receipt"), wire.encode_receipt(receipt))
                self._counters.receipts.inc()
        return not self._stopping.is_set() and max(len(inventories), len(hellos)) == BATCH

    def _write(self, inventories: dict[str, Inventory], hellos: dict[str, Running]) -> None:
        try:
            self._write_all(inventories, hellos)
        except RegistryDown:
            raise
        except Exception:  # what one device says can't be kept: the others' can
            log.exception("a batch of %d inventories and %d hellos failed", len(inventories), len(hellos))
            for device in inventories.keys() | hellos.keys():
                try:
                    self._write_all(_only(device, inventories), _only(device, hellos))
                except RegistryDown:
                    raise
                except Exception as why:
                    log.error("what %s says of itself can't be kept: %s", device, type(why).__name__)

    def _write_all(self, inventories: dict[str, Inventory], hellos: dict[str, Running]) -> None:
        with self._registry.change(SYSTEM) as change:
            for device, inventory in inventories.items():
                equipment.put(change, device, inventory)
            for device, running in hellos.items():
                agents.put(change, device, running)
        for device, inventory in inventories.items():
            self._hashes[device] = inventory.hash
            self._counters.inventories.inc()

    def _take(self) -> tuple[dict[str, Inventory], dict[str, Running]]:
        with self._lock:
            inventories = {device: self._inventories.pop(device) for device in list(self._inventories)[:BATCH]}
            self._values -= sum(map(_size, inventories.values()))
            hellos = {device: self._hellos.pop(device) for device in list(self._hellos)[:BATCH]}
        return inventories, hellos

    def _put_back(self, inventories: dict[str, Inventory], hellos: dict[str, Running]) -> None:
        with self._lock:
            for device, said in inventories.items():
                if device not in self._inventories:
                    self._inventories[device] = said
                    self._values += _size(said)
            self._hellos = {**hellos, **self._hellos}


def _size(inventory: Inventory) -> int:
    return sum(map(len, inventory.parts.values())) + len(inventory.parts)


def _running(agent: str, config: str, refused: str) -> Running:
    return Running(sys.intern(agent), sys.intern(config), sys.intern(refused))


def _only(device: str, among: dict[str, T]) -> dict[str, T]:
    return {device: among[device]} if device in among else {}
