"""Configurations from the registry to a real agent, on real brokers: followed, refused, rolled back, put right."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Client, Pipeline, pipeline
from running import wait_until

from schoolpulse_agent import agent, configuration, link, probe, remote, settings, wire
from schoolpulse_collector.registry import Refused
from schoolpulse_collector.registry import configuration as wishes
from schoolpulse_collector.registry import devices as registered
from schoolpulse_collector.registry.configuration import Place
from schoolpulse_collector.registry.model import Configuration, Device
from schoolpulse_collector.steering import NOTHING, config_of


@pytest.fixture(params=["amqtt", "mosquitto"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(tmp_path, request.param) as made:
        yield made


def want(running: Pipeline, place: Place, wanted: dict[str, object]) -> None:
    with running.registry.change("person:t") as change:
        wishes.put(change, place, wanted)


class Machine:
    """A whole agent, in a thread, until it is ended."""

    def __init__(self, running: Pipeline, folder: Path) -> None:
        off = {name: {"enabled": False} for name in probe.names() if name not in ("mem", "system")}
        document = {
            "device": {"id": "d1", "school": "s", "secret": running.secrets["d1"]},
            "broker": {"url": f"mqtt://127.0.0.1:{running.port}"},
            "reports": {"interval": 1, "folder": str(folder / "outbox"), "replay_spread": 0},
            "probe": off,
        }
        self.agent = agent.build(settings.parse(document, "test"), alone=False)
        self._stop = agent.Stop()
        self._thread = threading.Thread(target=agent.run, args=([self.agent], self._stop))
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def machine(running: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(link, "INVENTORY_FIRST", (0.1, 0.1))
    made = Machine(running, tmp_path)
    wait_until(lambda: running.presence.of("d1").state == "online" and running.fleet.running("d1").agent, 15, "a hello")
    yield made
    made.end()


def test_an_agent_follows_what_is_wanted_and_its_own_file_again_when_nothing_is(
    running: Pipeline, machine: Machine
) -> None:
    wait_until(lambda: running.fleet.knows("d1", machine.agent.link._inventory.hash), 15, "its inventory is durable")
    assert running.steering.state("d1") == "none"
    want(running, Place("school", "s"), {"reports": {"interval": 2}})
    wait_until(lambda: running.steering.state("d1") == "followed", 15, "it follows")
    assert running.steering.wanted("d1").settings == {"reports": {"interval": 2}}
    wait_until(lambda: running.presence.of("d1").interval == 2.0, 10, "it reports more rarely")
    with running.registry.change("person:t") as change:
        assert wishes.clear(change, Place("school", "s"))
    wait_until(lambda: running.steering.state("d1") == "none" and machine.agent.interval == 1, 15, "its own file holds")


def test_a_device_that_was_away_meanwhile_follows_when_it_comes_back(
    running: Pipeline, machine: Machine, tmp_path: Path
) -> None:
    want(running, Place("centre"), {"reports": {"interval": 3}})
    wait_until(lambda: running.steering.state("d1") == "followed", 15, "it follows")
    machine.end()
    with running.registry.change("person:t") as change:
        wishes.clear(change, Place("centre"))
    wait_until(lambda: running.steering.wanted("d1") == NOTHING, 10, "nothing is wanted any more")
    again = Machine(running, tmp_path)
    try:
        wait_until(lambda: running.steering.state("d1") == "none" and again.agent.interval == 1, 15, "it is put right")
    finally:
        again.end()


def test_one_under_which_no_report_arrives_is_rolled_back_told_and_not_sent_again(
    running: Pipeline, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "TRIAL", 2.0)
    monkeypatch.setattr(machine.agent, "sample", lambda: None)  # as a setting would that keeps it from reporting
    want(running, Place("device", "d1"), {"probe": {"system": {"enabled": False}}})
    wait_until(lambda: running.steering.state("d1") == "refused", 20, "it is given up, and told")
    said = running.fleet.running("d1")
    assert said.config == "" and said.refused == f"{running.steering.wanted('d1').version} no report arrived under it"
    sent = running.counted("schoolpulse_configurations_total")
    machine.agent.link._say_hello(time.monotonic())
    time.sleep(1.0)
    assert running.counted("schoolpulse_configurations_total") == sent


def test_what_was_refused_is_forgotten_once_it_is_no_longer_wanted_even_if_the_centre_was_away_meanwhile(
    running: Pipeline, machine: Machine
) -> None:
    machine.agent._care._configuration.refused = "c" * 16 + " no report arrived under it"  # type: ignore[union-attr]
    wait_until(lambda: running.counted("schoolpulse_configurations_total") == 1, 15, "it is told what is wanted")
    wait_until(lambda: running.fleet.running("d1").refused == "", 15, "it refuses nothing")


def test_what_no_agent_would_follow_is_refused_before_anybody_gets_it(running: Pipeline) -> None:
    for wanted, named in (
        ({"reports": {"intervall": 7}}, "interval"),
        ({"probe": {"dsk": {}}}, "disk"),
        ({"broker": {"url": "mqtts://elsewhere:8883"}}, "broker"),
        ({"reports": {"interval": 0}}, "interval"),
        ({"reports": {"interval": 10**400}}, "large"),
    ):
        with pytest.raises(Refused, match=named):
            want(running, Place("centre"), wanted)
    assert running.steering.wanted("d1") == NOTHING


def test_a_narrower_place_goes_over_a_broader_one_and_the_same_has_the_same_version(running: Pipeline) -> None:
    want(running, Place("centre"), {"reports": {"interval": 90}, "limits": {"cpu_percent": 2}})
    want(running, Place("centre", "", "lab_pc"), {"reports": {"interval": 80}})
    want(running, Place("room", "r"), {"probe": {"disk": {"enabled": False}}})
    want(running, Place("device", "d2"), {"reports": {"interval": 10}})
    both = {"limits": {"cpu_percent": 2}, "probe": {"disk": {"enabled": False}}}
    expected = {"d1": {**both, "reports": {"interval": 80}}, "d2": {**both, "reports": {"interval": 10}}}
    wait_until(lambda: running.steering.wanted("d2").settings == expected["d2"], 10, "it is known")
    assert running.steering.wanted("d1").settings == expected["d1"]
    assert running.steering.wanted("d1") == running.steering.wanted("d3") == config_of(expected["d1"])
    assert wire.is_hash(running.steering.wanted("d1").version)
    with running.registry.change("person:t") as change:  # in no room any more
        registered.alter(change, change.session.get_one(Device, "d3"), room=None)
    wait_until(lambda: "probe" not in running.steering.wanted("d3").settings, 10, "it is elsewhere")


def test_all_are_told_of_a_change_each_once(running: Pipeline) -> None:
    clients = [Client(running.port, name, secret) for name, secret in running.secrets.items()]
    for client, name in zip(clients, running.secrets, strict=True):
        client.listen(f"sp/v1/down/{name}/config")
    want(running, Place("centre"), {"reports": {"interval": 90}})
    for client in clients:
        assert remote.decode(client.hear()[1]) == config_of({"reports": {"interval": 90}})
    time.sleep(1.5)
    assert all(client.heard.empty() for client in clients)
    for client in clients:
        client.close()


def test_settings_of_an_earlier_version_that_mean_nothing_now_are_left_out(
    running: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with running.registry.change("person:t") as change:
        row = Configuration(scope="school", key="s", kind="", settings='{"gone": {}}', changed=1, changed_by="x")
        change.session.add(row)
        wishes.put(change, Place("centre"), {"reports": {"interval": 90}})
    wait_until(lambda: running.steering.wanted("d1").settings, 10, "the rest is wanted")
    assert running.steering.wanted("d1").settings == {"reports": {"interval": 90}} and "left out" in caplog.text
