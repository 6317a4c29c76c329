"""A rollout from the registry to a machine and back: real collector, real mosquitto, real HTTPS, a real agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakecentre import FakeCentre
from kept import Kept
from packages import Maker
from pipeline import Pipeline, pipeline

from schoolpulse_agent import __version__
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.registry import Registry, rollouts
from schoolpulse_collector.rolling import SETTLE, Rolling
from schoolpulse_collector.waves import Rollout


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(tmp_path, "mosquitto") as made:
        yield made


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    made = FakeCentre()
    yield made
    made.close()


def newest(registry: Registry) -> Rollout:
    with registry.read() as session:
        return rollouts.everything(session)[0]


def test_a_rollout_reaches_a_machine_and_a_bad_one_is_withdrawn_from_it(
    tmp_path: Path, running: Pipeline, centre: FakeCentre
) -> None:
    maker, registry, fleet = Maker(tmp_path / "maker"), running.registry, running.fleet
    updates = f'[update]\nenabled = true\npublic_key = "{maker.public}"\n'
    machine = Kept(tmp_path / "machine", centre, running.port, running.secrets["d1"], updates)
    machine.until(lambda: fleet.running("d1").agent == __version__, "the installed one has said hello")

    good = maker.make("0.2.0")
    machine.hand_out(*good)
    with registry.change("person:lan") as change:
        rollouts.start(change, good[0], pilots=["s"], hours=0.001)
    machine.until(lambda: fleet.running("d1").agent == "0.2.0", "it is 0.2.0")
    machine.until(lambda: machine.state.good == "0.2.0" and running.stored("agent", "waiting"), "reports are stored")

    hours = [0.0]  # since the rolling's start

    def later() -> float:
        return newest(registry).since / 1000 + hours[0]

    rolling = Rolling(registry, running.roster, fleet, running.presence, Latest(), later)
    hours[0] = SETTLE + 60
    rolling.look()
    assert newest(registry).state == "done"  # no other school has machines

    bad = maker.make("0.3.0", {"link.py": {"for body in self.window.messages():": "for body in ():"}})
    machine.hand_out(*bad)
    with registry.change("person:lan") as change:
        rollouts.start(change, bad[0])
    machine.until(lambda: fleet.running("d1").refused.startswith("agent 0.3.0 no report arrived"), "it refuses 0.3.0")
    machine.until(lambda: fleet.running("d1").agent == "0.2.0", "and is 0.2.0 again")
    assert rolling.count(newest(registry)).refused == 1

    with registry.change("person:lan") as change:  # one machine is too few for the centre to judge by itself
        rollouts.withdraw(change, newest(registry).id)
        rollouts.withdraw(change, rollouts.everything(change.session)[1].id)
    machine.until(lambda: fleet.running("d1").agent == __version__, "it is the installed one again")
    assert machine.program.stop() == 0 and machine.codes == [3, 3, 3, 3]
