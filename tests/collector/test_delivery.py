"""What is lost is told from what is only late, and both are counted per school and device."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Client, Pipeline, pipeline
from running import wait_until

from schoolpulse_collector.delivery import METRICS, SENDER, Delivery, is_report
from schoolpulse_collector.received import Received
from schoolpulse_collector.record import Record


class Roster:
    """Every device is of school ``s``."""

    def get(self, device: str) -> Record:
        return record(1, device=device)


def record(seq: int, lag: int = 0, device: str = "d1", school: str = "s") -> Record:
    return Record(device, 7, seq, 60_000, lag, school, "r", "lab_pc", {"cpu": {"usage_active": 1.0}}, 1)


def test_a_minute_becomes_one_sample_a_school_at_the_minutes_end() -> None:
    now = [60.0]
    delivery = Delivery(Received(), Roster(), lambda: now[0])
    for lag in (100, 300, 90_000):
        delivery.accepted(record(1, lag))
    delivery.accepted(record(1, 50, school="t"))
    assert list(delivery.records()) == []
    now[0] = 121.0
    first, second = delivery.records()
    assert (first.school, first.t, first.device, first.seq, second.seq) == ("s", 120_000, SENDER, 1, 2)
    fields = {"reports": 3.0, "late": 1.0, "lag_mean": 30.133, "lag_max": 90.0, "lost": 0.0}
    assert first.m == {"delivery": fields} and second.school == "t"
    assert {("delivery", name) for name in fields} == METRICS.keys()
    assert list(delivery.records()) == [] and not is_report(first)


def test_below_low_and_not_received_is_lost_and_above_it_only_late() -> None:
    received = Received()
    for seq in (1, 2, 10):
        received.add("d1", 7, seq)
    received.held_from("d1", 7, 8, 0)
    assert received.losses() == {"d1": 5}  # 3 to 7; 8 and 9 may still come
    received.add("d1", 7, 4)  # it was on its way after all
    received.held_from("d1", 7, 3, 0)  # an older message, overtaken
    assert received.losses() == {"d1": 4}


def test_losses_of_all_epochs_of_a_device_add_up() -> None:
    received = Received([("d1", 1, 1, 5), ("d2", 1, 1, 9)], [("d1", 1, 7, 0), ("d1", 2, 4, 0), ("d2", 1, 10, 0)])
    assert received.losses() == {"d1": 1 + 3}
    delivery = Delivery(received, Roster())
    assert delivery.lost() == {"s": {"d1": 4}}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(tmp_path, "mosquitto") as made:
        yield made


def say(client: Client, low: int, *reports: tuple[int, object]) -> None:
    now = int(time.time() * 1000)
    body = [{"seq": seq, "t": now, "up": 1, "m": m} for seq, m in reports]
    client.say("sp/v1/up/s/d1/report", json.dumps({"v": 1, "epoch": 7, "low": low, "reports": body}))


def test_loss_stands_in_the_metrics_and_is_known_again_after_a_restart(running: Pipeline, tmp_path: Path) -> None:
    client = Client(running.port, "d1", running.secrets["d1"])
    good, refused = {"cpu": {"usage_active": 1}}, {}
    say(client, 1, (1, good), (2, refused))
    say(client, 10, (10, good))  # 3 to 9 are gone; 2 was refused, and kept aside, not lost
    labels = {"school": "s", "device": "d1"}
    wait_until(lambda: running.counted("schoolpulse_device_reports_lost", **labels) == 7, 10, "seven are lost")
    assert running.counted("schoolpulse_reports_lost", school="s") == 7
    wait_until(lambda: len(running.stored("report", "seq")) == 2, 10, "both are stored")
    running.shipper.stop()
    again = Received(running.store.received(), running.store.lows())
    assert again.losses() == {"d1": 7}
    client.close()
