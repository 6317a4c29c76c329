"""Fills a broker's queue as fast as it takes messages."""

from __future__ import annotations

import threading
import time

import psutil
from city import City
from pipeline import Client

from schoolpulse_agent import wire


def flood(city: City, messages: int, broker: psutil.Process) -> int:
    """Publish so many messages of the size of a real one for some devices; return how many MB the broker took.

    They all repeat one report: what they cost the broker is what distinct ones cost, and none has to be in a ledger.
    """
    groups = {f"disk,path=/{n}": {f"f{m}": n * 7.31 + m * 1.17 for m in range(12)} for n in range(8)}
    now = int(time.time() * 1000)
    peak = 0

    def publish(device: str, secret: str) -> None:
        client = Client(city.broker.port, device, secret)
        report = wire.encode_report(wire.Report(1, now, 1.0, groups))
        body = wire.encode(1, 1, [report])
        topic = wire.up_topic("s", device, "report")
        for number in range(messages // len(city.spare)):
            sent = client.mqtt.publish(topic, body, qos=1)
            if number % 500 == 499:
                sent.wait_for_publish(60)
        client.close()

    threads = [threading.Thread(target=publish, args=pair) for pair in city.spare.items()]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, broker.memory_info().rss // 2**20)
        time.sleep(0.2)
    return peak
