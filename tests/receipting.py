"""A collector of a few lines for tests of whole agents: it hears everybody and receipts what they say."""

from __future__ import annotations

import time

from pipeline import Client
from running import Mosquitto

from schoolpulse_agent import wire
from schoolpulse_agent.ranges import Ranges


class Collector(Client):
    """Hears all senders and receipts what they say."""

    def __init__(self, broker: Mosquitto) -> None:
        super().__init__(broker.port, "collector", "c")
        self.said: list[tuple[str, wire.Presence]] = []
        self.reports: list[tuple[str, int, int]] = []  # device, epoch, seq
        self.listen("sp/v1/up/#")

    def work(self) -> None:
        while not self.heard.empty():
            topic, body = self.heard.get()
            _, device, kind = wire.parse_up(topic)
            epochs: wire.Epochs = {}
            if kind == "presence":
                self.said.append((device, wire.decode_presence(body)))
                epochs = {self.said[-1][1].epoch: Ranges()}
            elif kind == "report":
                batch = wire.decode(body)
                self.reports += [(device, batch.epoch, report.seq) for report in batch.reports]
                epochs = {batch.epoch: Ranges([(r.seq, r.seq) for r in batch.reports])}
            receipt = wire.Receipt(int(time.time() * 1000), epochs)
            self.say(wire.down_topic(device, "receipt"), wire.encode_receipt(receipt))

    def hellos(self, device: str) -> list[wire.Presence]:
        self.work()
        return [said for name, said in self.said if name == device and said.state == "online"]
