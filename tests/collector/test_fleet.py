"""Inventories on their way into the registry: durable before they are receipted, whatever comes or is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import Client, Pipeline, pipeline
from running import PostgreSQL, wait_until

from schoolpulse_agent import wire
from schoolpulse_agent.parts import encode_inventory, inventory_of
from schoolpulse_collector import fleet as module
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.registry import Registry, equipment
from schoolpulse_collector.registry.model import Room, School

ONE = inventory_of({"cpu": {"model": "Intel Core i3", "cores": 4}})
TWO = inventory_of({"cpu": {"model": "Intel Core i3", "cores": 8}})
TOPIC = "sp/v1/up/s/d1/inventory"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline(tmp_path_factory.mktemp("pipeline"), "amqtt") as made:
        yield made


@pytest.fixture(scope="module")
def device(running: Pipeline) -> Iterator[Client]:
    client = Client(running.port, "d1", running.secrets["d1"])
    client.listen("sp/v1/down/d1/receipt")
    yield client
    client.close()


def kept(registry: Registry, device: str) -> str:
    with registry.read() as session:
        found = equipment.of(session, device)
        return found.hash if found else ""


def test_an_inventory_is_receipted_once_it_is_durable_and_a_hello_that_names_it_is_told(
    running: Pipeline, device: Client
) -> None:
    hello = wire.Presence("online", "a", 1, agent="0.1.0", inventory=ONE.hash)
    device.say("sp/v1/up/s/d1/presence", wire.encode_presence(hello))
    assert wire.decode_receipt(device.hear()[1]).inventory == ""
    device.say("sp/v1/up/elsewhere/d1/inventory", encode_inventory(ONE))  # the topic's school says nothing
    receipt = wire.decode_receipt(device.hear()[1])
    assert (receipt.inventory, receipt.epochs) == (ONE.hash, {}) and kept(running.registry, "d1") == ONE.hash
    device.say("sp/v1/up/s/d1/presence", wire.encode_presence(hello))
    again = wire.decode_receipt(device.hear()[1])
    assert again.inventory == ONE.hash and again.duties == ("internet",)
    device.say(TOPIC, encode_inventory(ONE))  # its receipt was lost
    assert wire.decode_receipt(device.hear()[1]).inventory == ONE.hash
    assert not running.fleet.knows("d2", ONE.hash)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200) | st.sampled_from([encode_inventory(ONE)[:-1], b'{"v":1,"hash":"x","parts":{}}']))
def test_what_is_no_inventory_is_counted_kept_aside_and_never_receipted(
    running: Pipeline, device: Client, body: bytes
) -> None:
    before = len(running.letters())
    device.say(TOPIC, body)
    wait_until(lambda: len(running.letters()) == before + 1, 10, "it is a dead letter")
    assert running.letters()[-1]["topic"] == TOPIC and running.intake.is_alive()


def test_one_that_lies_about_its_hash_is_refused(running: Pipeline, device: Client) -> None:
    before = running.counted("schoolpulse_refused_total", reason="shape")
    device.say(TOPIC, encode_inventory(TWO._replace(hash=ONE.hash)))
    wait_until(lambda: running.counted("schoolpulse_refused_total", reason="shape") == before + 1, 10, "it is refused")


class Office:
    """A registry with devices, and a fleet that is not running yet."""

    def __init__(self, url: str, count: int) -> None:
        self.registry = Registry(url)
        self.registry.put(School(key="s", name="A"), Room(key="r", school="s", name="B"))
        self.devices = [f"d{number}" for number in range(count)]
        for name in self.devices:
            self.registry.enrol(name, "s", "r", name, "lab_pc")
        self.sent: list[str] = []
        self.counters = Counters()
        self.fleet = Fleet(self.registry, lambda topic, body: self.sent.append(topic.split("/")[3]), self.counters)

    def close(self) -> None:
        if self.fleet.is_alive():
            self.fleet.stop()
        self.registry.close()


def test_a_database_that_is_away_during_a_burst_stops_nobody_and_all_are_receipted_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = PostgreSQL()
    monkeypatch.setattr(module, "RETRY", 0.2)
    try:
        with closing(Office(own.url, 40)) as office:
            own.kill()
            office.fleet.start()
            for name in office.devices:
                office.fleet.took(name, ONE)
                office.fleet.said(name, wire.Presence("online", "a", 1, agent="0.1.0"))
            wait_until(lambda: not office.fleet.works, 20, "it says that it can't write")
            assert office.sent == []
            own.start()
            wait_until(lambda: len(office.sent) == 40, 30, "all have their receipts")
            assert sorted(office.sent) == sorted(office.devices) and office.fleet.works
            assert {kept(office.registry, name) for name in office.devices} == {ONE.hash}
            after = Fleet(office.registry, lambda *_: None, Counters())  # as after a restart
            assert after.knows("d0", ONE.hash) and after.running("d39").agent == "0.1.0"
    finally:
        own.stop()


def test_what_finds_no_room_is_dropped_and_counted_and_a_newer_one_takes_the_olders_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM", 6)
    with closing(Office(f"sqlite:///{tmp_path}/registry.sqlite", 3)) as office:
        for name, inventory in (("d0", ONE), ("d1", ONE), ("d2", ONE), ("d0", TWO)):
            office.fleet.took(name, inventory)
        office.fleet._keep()
        assert office.sent == ["d0", "d1"] and kept(office.registry, "d0") == TWO.hash
        dropped = office.counters.registry.get_sample_value("schoolpulse_inventories_dropped_total")
        assert dropped == 1 and kept(office.registry, "d2") == ""


def test_one_that_can_not_be_kept_does_not_keep_the_others_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Office(f"sqlite:///{tmp_path}/registry.sqlite", 2)) as office:
        for name in ("d0", "nobody", "d1"):
            office.fleet.took(name, ONE)
        office.fleet._keep()
        assert office.sent == ["d0", "d1"] and "nobody" in caplog.text
