"""What a collector answers to what agents say, and one of a few lines for tests of whole agents."""

from __future__ import annotations

import time

from pipeline import Client
from running import Mosquitto

from schoolpulse_agent import parts, wire
from schoolpulse_agent.ranges import Ranges


def answer(topic: str, body: bytes, known: dict[str, str], now: float) -> tuple[str, wire.Receipt] | None:
    """Device and receipt for one message, None for a goodbye. ``known``: hashes of inventories by device, kept here.

    ``now``: UTC seconds. Raises BadReport, and AssertionError for a report that the contract does not allow.
    """
    _, device, kind = wire.parse_up(topic)
    epochs: wire.Epochs = {}
    if kind == "report":
        batch = wire.decode(body)
        assert not batch.refused, batch.refused
        epochs = {batch.epoch: Ranges((report.seq, report.seq) for report in batch.reports)}
    elif kind == "inventory":
        known[device] = parts.decode_inventory(body).hash
    else:
        said = wire.decode_presence(body)
        if said.state != "online":
            return None
        epochs = {said.epoch: Ranges()}
    return device, wire.Receipt(int(now * 1000), epochs, inventory=known.get(device, ""))


class Collector(Client):
    """Hears all senders and receipts what they say."""

    def __init__(self, broker: Mosquitto) -> None:
        super().__init__(broker.port, "collector", "c")
        self.said: list[tuple[str, wire.Presence]] = []
        self.reports: list[tuple[str, int, int]] = []  # device, epoch, seq
        self._known: dict[str, str] = {}
        self.listen("sp/v1/up/#")

    def work(self) -> None:
        while not self.heard.empty():
            topic, body = self.heard.get()
            _, device, kind = wire.parse_up(topic)
            if kind == "presence":
                self.said.append((device, wire.decode_presence(body)))
            elif kind == "report":
                batch = wire.decode(body)
                self.reports += [(device, batch.epoch, report.seq) for report in batch.reports]
            answered = answer(topic, body, self._known, time.time())
            if answered:
                self.say(wire.down_topic(answered[0], "receipt"), wire.encode_receipt(answered[1]))

    def hellos(self, device: str) -> list[wire.Presence]:
        self.work()
        return [said for name, said in self.said if name == device and said.state == "online"]
