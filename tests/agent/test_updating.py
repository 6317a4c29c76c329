"""Whole agents that become other versions of themselves: real packages, HTTPS, a real mosquitto, real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakecentre import FakeCentre
from kept import Kept
from packages import Maker
from receipting import Collector
from running import Mosquitto

from schoolpulse_agent import __version__, remote, versions
from schoolpulse_agent.package import Manifest
from schoolpulse_agent.versions import State


class Machine(Kept):
    """One machine, its centre and its collector, which is the test."""

    def __init__(self, folder: Path, centre: FakeCentre, broker: Mosquitto, collector: Collector, more: str) -> None:
        self.collector = collector
        super().__init__(folder, centre, broker.port, "old", more)

    @property
    def runs(self) -> str:
        """The version that said hello last."""
        hellos = self.collector.hellos("d1")
        return hellos[-1].agent if hellos else ""

    @property
    def told(self) -> str:
        """What the last hello said is refused."""
        hellos = self.collector.hellos("d1")
        return hellos[-1].refused if hellos else ""

    def offer(self, manifest: Manifest, body: bytes) -> None:
        self.hand_out(manifest, body)
        self.want(manifest._asdict())

    def want(self, update: dict[str, Any] | None) -> None:
        version = f"{time.monotonic_ns() % 2**64:016x}"
        said = remote.encode(remote.Config(version, {}, update))
        self.collector.mqtt.publish("sp/v1/down/d1/config", said, qos=1, retain=True)

    def work(self) -> None:
        self.collector.work()

    def good(self) -> bool:
        return not self.state.trial and self.state.good == self.runs


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "maker")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[FakeCentre, Mosquitto, Collector]]:
    broker = Mosquitto(tmp_path / "broker", {"d1": "old", "collector": "c"})
    centre, collector = FakeCentre(), Collector(broker)
    yield centre, broker, collector
    collector.close()
    centre.close()
    broker.stop()


@pytest.fixture
def machine(tmp_path: Path, parts: tuple[FakeCentre, Mosquitto, Collector], maker: Maker) -> Iterator[Machine]:
    made = Machine(tmp_path, *parts, f'[update]\nenabled = true\npublic_key = "{maker.public}"\n')
    yield made
    made.program.stop()


def test_a_signed_newer_version_is_fetched_started_and_kept_and_so_is_the_next(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs == __version__, "the installed one reports")
    machine.offer(*maker.make("0.2.0"))
    machine.until(machine.good, "0.2.0 is good")
    assert machine.state == State(good="0.2.0", tried="0.2.0") and machine.codes == [3]
    reports = len(machine.collector.reports)
    machine.until(lambda: len(machine.collector.reports) > reports + 1, "it goes on reporting")
    machine.offer(*maker.make("0.3.0"))
    machine.until(lambda: machine.state.good == "0.3.0", "0.3.0 is good")
    assert (machine.state.previous, machine.codes) == ("0.2.0", [3, 3])
    kept = sorted(path.name for path in (machine.outbox / versions.FOLDER).glob("*.zip"))
    assert kept == ["0.2.0.zip", "0.3.0.zip"]
    machine.program.stop()
    machine.until(lambda: len(machine.codes) == 3, "a start of a good version is no trial")
    machine.until(lambda: machine.runs == "0.3.0" and not machine.told, "it runs again")


def test_versions_that_the_centre_withdraws_are_left_one_by_one(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    for version in ("0.2.0", "0.3.0"):
        machine.offer(*maker.make(version))
        machine.until(lambda version=version: machine.state.good == version, f"{version} is good")
    machine.want({"version": "0.2.0", "withdrawn": True})  # which does not run
    machine.want({"version": "0.3.0", "withdrawn": True})
    machine.until(lambda: machine.runs == "0.2.0", "the one before runs")
    assert machine.told == "agent 0.3.0 withdrawn by the centre"
    machine.want({"version": "0.2.0", "withdrawn": True})
    machine.until(lambda: machine.runs == __version__, "the installed one runs")
    assert machine.state.good == machine.state.previous == ""


def test_a_version_that_can_not_be_imported_here_is_never_started(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    machine.offer(*maker.make("0.2.0", {"window.py": {"import random\n": "import no_such_module\n"}}))
    machine.until(lambda: "can't run here" in machine.told, "it is refused")
    assert machine.told == "agent 0.2.0 it can't run here: ModuleNotFoundError" and machine.codes == []


def test_a_version_that_ends_at_each_start_is_left_after_three_tries(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    fault = {"agent.py": {'    """The agent that these settings describe;': '    raise SystemExit(9)\n    """The'}}
    machine.offer(*maker.make("0.2.0", fault))
    machine.until(lambda: "ended 3 times" in machine.told, "it is left")
    assert machine.codes == [3, 9, 9, 9] and machine.runs == __version__
    machine.program.stop()
    machine.until(lambda: len(machine.codes) == 5, "it is started again")
    machine.until(lambda: len(machine.collector.hellos("d1")) >= 3, "and says hello")
    time.sleep(0.5)
    assert machine.runs == __version__ and not machine.state.trial  # though it is still offered


def test_a_version_under_which_no_report_arrives_is_left(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    machine.offer(*maker.make("0.2.0", {"link.py": {"for body in self.window.messages():": "for body in ():"}}))
    machine.until(lambda: machine.runs == "0.2.0" and "no report arrived" in machine.told, "it is left")
    machine.until(lambda: machine.runs == __version__, "the installed one runs")
    assert machine.codes == [3, 3] and "no report arrived" in machine.told


def test_a_version_that_never_connects_makes_way_and_is_left_in_the_end(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    hellos = len(machine.collector.hellos("d1"))
    machine.offer(*maker.make("0.2.0", {"link.py": {"broker.port, keepalive": "1, keepalive"}}))
    machine.until(lambda: "ended 3 times" in machine.told, "it is left", 60)
    assert machine.runs == __version__ and "has no connection" in machine.program.printed()
    assert len(machine.collector.hellos("d1")) > hellos + 3  # between its tries the one before has reported


def test_a_package_that_was_changed_on_the_disk_does_not_run(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    machine.offer(*maker.make("0.2.0"))
    machine.until(machine.good, "0.2.0 is good")
    kept = machine.outbox / versions.FOLDER / "0.2.0.zip"
    hostile, body = maker.make("0.9.0", {"agent.py": {"TROUBLE = 5.0": "TROUBLE = 6.0"}})
    machine.want(None)
    kept.write_bytes(body)
    machine.program.stop()
    machine.until(lambda: machine.runs == __version__, "the installed one runs")
    assert "is not the one that was signed" in machine.program.printed()
    other = Maker(maker.folder / "other")
    versions.keep(kept.parent, *other.make("0.2.0"))  # and so with a signature of somebody else's
    versions.save(kept.parent, State(good="0.2.0"))
    machine.program.stop()
    machine.until(lambda: "0.2.0 is not signed with the key" in machine.program.printed(), "it is refused")
    assert hostile.version not in {said.agent for said in machine.collector.hellos("d1")}


def test_where_updates_are_off_nothing_is_asked_for_and_nothing_else_runs(
    tmp_path: Path, parts: tuple[FakeCentre, Mosquitto, Collector], maker: Maker
) -> None:
    manifest, body = maker.make("0.2.0")
    versions.keep(tmp_path / "outbox" / versions.FOLDER, manifest, body)
    versions.save(tmp_path / "outbox" / versions.FOLDER, State(good="0.2.0"))
    machine = Machine(tmp_path, *parts, f'[update]\npublic_key = "{maker.public}"\n')
    machine.until(lambda: machine.runs, "it reports")
    machine.offer(manifest, body)
    machine.until(lambda: machine.told == "agent 0.2.0 updates are off here", "it says so")
    assert {said.agent for said in machine.collector.hellos("d1")} == {__version__}
    assert b"/packages/" not in machine.centre.received and machine.codes == []
    machine.program.stop()


def test_a_disk_that_forgets_everything_gets_the_version_anew(machine: Machine, maker: Maker) -> None:
    machine.until(lambda: machine.runs, "the installed one reports")
    machine.offer(*maker.make("0.2.0"))
    machine.until(machine.good, "0.2.0 is good")
    machine.program.process.terminate()
    machine.program.process.wait(20)
    for path in (machine.outbox / versions.FOLDER).iterdir():
        path.unlink()
    machine.until(lambda: machine.state.good == "0.2.0", "it has come again")
    assert json.loads((machine.outbox / versions.FOLDER / versions.FILE).read_text())["refused"] == ""
