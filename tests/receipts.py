"""A collector that keeps what it hears and answers it with receipts, on a real broker."""

from __future__ import annotations

import queue
import threading
import time

from pipeline import Client
from receipting import answer

from schoolpulse_agent import wire


class Receipts:
    """``heard``: every (topic, payload); ``offset``: seconds that its clock is off; ``inventory``: what it knows."""

    def __init__(self, port: int, password: str, offset: float = 0.0, inventory: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.inventory, self._offset = inventory, offset
        self._client = Client(port, "collector", password)
        self._client.listen("sp/v1/up/#")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def kinds(self) -> set[str]:
        """Of all topics heard."""
        return {wire.parse_up(topic)[2] for topic, _ in list(self.heard)}

    def tell(self, device: str, kind: str, body: bytes) -> None:
        """Send a device a message of the centre."""
        self._client.mqtt.publish(wire.down_topic(device, kind), body, qos=1)

    def close(self) -> None:
        self._end.set()
        self._thread.join(5)
        self._client.close()

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                topic, body = self._client.hear(0.1)
            except queue.Empty:
                continue
            self.heard.append((topic, body))
            known = {wire.parse_up(topic)[1]: self.inventory}
            answered = answer(topic, body, known, time.time() + self._offset)
            if answered:
                device, receipt = answered
                self.inventory = known[device]
                self._client.mqtt.publish(wire.down_topic(device, "receipt"), wire.encode_receipt(receipt))
