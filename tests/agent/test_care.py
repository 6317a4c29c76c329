"""A whole agent on a real mosquitto, cared for from afar by a centre that is this test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pipeline import Client
from running import Mosquitto, wait_until

from schoolpulse_agent import __version__, agent, care, link, remote, settings, wire
from schoolpulse_agent.agent import Agent
from schoolpulse_agent.footprint import Footprint
from schoolpulse_agent.parts import Inventory, decode_inventory, inventory_of
from schoolpulse_agent.ranges import Ranges

ON = ("mem", "system")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "mosquitto", {"d1": "s3cret", "collector": "c"})
    yield made
    made.stop()


class Centre(Client):
    """Answers one agent as the collector does, and wants what the test says."""

    def __init__(self, port: int, agent: Agent) -> None:
        super().__init__(port, "collector", "c")
        self.agent, self.answers = agent, True
        self.duties: tuple[str, ...] = ()
        self.hellos: list[wire.Presence] = []
        self.reports: list[wire.Report] = []
        self.inventories: list[Inventory] = []
        self.listen("sp/v1/up/#")

    def want(self, config: remote.Config) -> None:
        self.say("sp/v1/down/d1/config", remote.encode(config))

    def until(self, true: Any, what: str, seconds: float = 15) -> None:
        def step() -> Any:
            self.agent.work()
            while not self.heard.empty():
                self._take(*self.heard.get())
            return true()

        wait_until(step, seconds, what)

    def _take(self, topic: str, body: bytes) -> None:
        kind, epochs, known = wire.parse_up(topic)[2], {}, ""
        if kind == "presence":
            said = wire.decode_presence(body)
            if said.state == "online":
                self.hellos.append(said)
                epochs = {said.epoch: Ranges()}
        elif kind == "inventory":
            self.inventories.append(decode_inventory(body))
            known = self.inventories[-1].hash
        elif self.answers:
            batch = wire.decode(body)
            self.reports += batch.reports
            epochs = {batch.epoch: Ranges([(one.seq, one.seq) for one in batch.reports])}
        receipt = wire.Receipt(int(time.time() * 1000), epochs, None, known, self.duties)
        self.say("sp/v1/down/d1/receipt", wire.encode_receipt(receipt))


@pytest.fixture
def own(tmp_path: Path, broker: Mosquitto) -> settings.Settings:
    off = {name: {"enabled": False} for name in settings.probe.names() if name not in ON}
    document = {
        "device": {"id": "d1", "school": "s", "secret": "s3cret"},
        "broker": {"url": f"mqtt://127.0.0.1:{broker.port}"},
        "reports": {"interval": 1, "folder": str(tmp_path / "outbox"), "replay_spread": 0},
        "probe": off,
    }
    return settings.parse(document, "test")


@pytest.fixture
def centre(own: settings.Settings, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    monkeypatch.setattr(link, "INVENTORY_FIRST", (0.1, 0.1))
    made = Centre(broker.port, agent.build(own, alone=False))
    yield made
    made.agent.close(0.1)
    made.close()


def test_the_centre_hears_the_version_and_gets_the_inventory_once(centre: Centre) -> None:
    centre.until(lambda: centre.inventories and len(centre.reports) > 2, "an inventory and some reports")
    assert centre.hellos[0].agent == __version__
    assert {"os", "cpu", "memory", "agent"} <= set(centre.inventories[0].parts)
    assert len(centre.hellos) == len(centre.inventories) == 1


def test_a_configuration_holds_from_the_next_report_and_the_centre_is_told(centre: Centre) -> None:
    centre.until(lambda: centre.reports, "reports")
    wanted = remote.Config("a" * 16, {"reports": {"interval": 2}, "probe": {"system": {"enabled": False}}})
    centre.want(wanted)
    centre.until(lambda: centre.hellos[-1].config == wanted.version, "it says so")
    assert (centre.hellos[-1].interval, centre.hellos[-1].refused) == (2.0, "")
    assert len({said.session for said in centre.hellos}) == 1  # without a new connection
    seen = len(centre.reports)
    centre.until(lambda: len(centre.reports) > seen + 2, "reports under it")
    first, *_, last = centre.reports[seen + 1 :]
    assert "system" not in last.m and "mem" in last.m
    assert last.t - first.t >= 1500 * (last.seq - first.seq)
    centre.want(remote.Config("", {}))
    centre.until(lambda: centre.hellos[-1].config == "", "its own file holds again")
    centre.until(lambda: "system" in centre.reports[-1].m, "and is read")


def test_a_configuration_that_the_agent_may_not_follow_is_told_and_changes_nothing(centre: Centre) -> None:
    centre.until(lambda: centre.reports, "reports")
    centre.want(remote.Config("b" * 16, {"broker": {"url": "mqtts://elsewhere:8883"}}))
    centre.until(lambda: centre.hellos[-1].refused.startswith("b" * 16), "it says so")
    seen = len(centre.reports)
    centre.until(lambda: len(centre.reports) > seen + 1, "reports go on")


def test_a_configuration_under_which_no_report_arrives_is_rolled_back(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre.until(lambda: centre.reports, "reports")
    monkeypatch.setattr("schoolpulse_agent.configuration.TRIAL", 3.0)
    centre.answers = False
    wanted = remote.Config("c" * 16, {"probe": {"system": {"enabled": False}}})
    centre.want(wanted)
    centre.until(lambda: centre.hellos[-1].config == wanted.version, "it is tried")
    centre.until(lambda: centre.hellos[-1].refused.startswith(wanted.version), "it is given up")
    assert centre.hellos[-1].config == ""
    centre.answers = True
    centre.until(lambda: centre.reports and "system" in centre.reports[-1].m, "the machine's own file holds again")


def test_reports_go_on_where_the_system_does_not_tell_what_the_agent_costs(
    centre: Centre,
) -> None:
    centre.agent._care.footprint = Footprint(settings.Limits(), memory=lambda: 1 // 0)  # type: ignore[union-attr]
    centre.until(lambda: len(centre.reports) > 1, "reports")
    assert "memory_rss" not in centre.reports[-1].m["agent"]


def test_nothing_is_started_anew_while_a_probe_hangs_but_to_leave_a_bad_version(centre: Centre) -> None:
    own = centre.agent._care
    assert own is not None and not own.restart
    own.footprint = Footprint(settings.Limits())
    own.footprint.too_large = True
    assert own.restart
    own._cycle._running["disk"] = cast(Any, object())
    assert not own.restart
    own._update = cast(Any, SimpleNamespace(restart=True, is_leaving=False))
    assert not own.restart
    own._update.is_leaving = True  # type: ignore[misc, union-attr]
    assert own.restart
    own._cycle._running.clear()
    own._update = None


def test_a_duty_reaches_the_probes(centre: Centre) -> None:
    centre.until(lambda: centre.reports, "reports")
    cycle = centre.agent._care._cycle  # type: ignore[union-attr]
    centre.duties = ("internet",)
    centre.until(lambda: cycle.duties == {"internet"}, "it has the duty")
    centre.duties = ()
    centre.until(lambda: cycle.duties == frozenset(), "it has it no more")


def test_an_inventory_that_cannot_be_read_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock, reads = Clock(), []

    def read() -> Inventory:
        reads.append(clock.now)
        if len(reads) == 1:
            raise OSError("no")
        return inventory_of({"cpu": {"cores": len(reads)}})

    stock = care.Stock(read, clock)
    for clock.now in (0.0, 3600.0, 8 * 3600.0):
        stock.work()
        assert stock._thread
        stock._thread.join()
    assert reads == [0.0, 8 * 3600.0] and "can't be read" in caplog.text
    assert stock.inventory == inventory_of({"cpu": {"cores": 2}})


def test_an_inventory_for_which_there_is_no_thread_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise RuntimeError("can't start new thread")

    clock = Clock()
    stock = care.Stock(lambda: inventory_of({"cpu": {"cores": 4}}), clock)
    with monkeypatch.context() as without:
        without.setattr("threading.Thread.start", full)
        stock.work()
    assert stock.inventory == care.NOTHING
    clock.now = 8 * 3600.0
    stock.work()
    assert stock._thread
    stock._thread.join()
    assert stock.inventory == inventory_of({"cpu": {"cores": 4}})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
