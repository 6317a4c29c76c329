"""Rollouts in the registry: one at a time, upwards only, each change in the audit, and none that crosses another."""

from __future__ import annotations

import pytest

from schoolpulse_agent.package import Manifest
from schoolpulse_collector.registry import Refused, Registry, audit, rollouts
from schoolpulse_collector.waves import Rollout, Step

MANIFEST = Manifest("0.2.0", "ab" * 32, 91_180, "3.9", "c2ln")


def start(registry: Registry, version: str = "0.2.0", **how: object) -> Rollout:
    with registry.change("person:lan") as change:
        return rollouts.start(change, MANIFEST._replace(version=version), **how)  # type: ignore[arg-type]


def newest(registry: Registry) -> Rollout:
    with registry.read() as session:
        return rollouts.everything(session)[0]


def actions(registry: Registry) -> list[str]:
    """The newest first."""
    with registry.read() as session:
        return [row.action for row in audit.newest(session, None, "", 0, 100) if row.action.startswith("rollout")]


def test_a_rollout_is_kept_as_it_was_begun(registry: Registry) -> None:
    made = start(registry, percents=(5, 100), pilots=["s2", "s1"], hours=2)
    assert newest(registry) == made
    assert (made.manifest, made.state, made.waves) == (MANIFEST, "running", (5, 100))
    assert (made.pilots, made.hours) == (frozenset({"s1", "s2"}), 2)
    assert actions(registry) == ["rollout.start"]


def test_it_begins_with_the_first_wave_that_reaches_a_machine(registry: Registry) -> None:
    registry.enrol("d1", "s1", "r1", "PC", "lab_pc")
    made = start(registry)
    assert made.wave == made.wave_of("s1") and made.reaches("s1")
    with registry.change("system") as change:
        rollouts.withdraw(change, made.id)
    assert start(registry, "0.3.0", pilots=["s2"]).wave == made.wave_of("s1") + 1  # the pilot has no machine


def test_it_is_paused_resumed_and_withdrawn_and_nothing_else(registry: Registry) -> None:
    made = start(registry)
    with registry.change("person:lan") as change:
        assert rollouts.pause(change, made.id, "exams").why == "exams"
        with pytest.raises(Refused, match=r"0\.2\.0 is paused"):
            rollouts.pause(change, made.id)
        assert rollouts.resume(change, made.id).state == "running"
        assert rollouts.withdraw(change, made.id, "no good").why == "no good"
        for act in (rollouts.pause, rollouts.resume, rollouts.withdraw):
            with pytest.raises(Refused, match=r"0\.2\.0 is withdrawn"):
                act(change, made.id)
        with pytest.raises(Refused, match="there is no rollout 99"):
            rollouts.pause(change, 99)
    assert actions(registry)[::-1] == ["rollout.start", "rollout.paused", "rollout.running", "rollout.withdrawn"]


def test_one_at_a_time_and_only_upwards(registry: Registry) -> None:
    made = start(registry)
    with pytest.raises(Refused, match=r"0\.2\.0 is on its way"):
        start(registry, "0.3.0")
    with registry.change("person:lan") as change:
        rollouts.withdraw(change, made.id)
    for version in ("0.2.0", "0.1.9"):
        with pytest.raises(Refused, match="higher number"):
            start(registry, version)
    assert start(registry, "0.2.1").state == "running"


@pytest.mark.parametrize(
    "how, why",
    [
        ({"percents": ()}, "rising"),
        ({"percents": (10, 5, 100)}, "rising"),
        ({"percents": (10, 10, 100)}, "rising"),
        ({"percents": (10, 50)}, "end with 100"),
        ({"percents": (0, 100)}, "rising"),
        ({"percents": (float("nan"), 100)}, "rising"),
        ({"percents": (*range(1, 11), 100)}, "at most 10"),
        ({"hours": 0}, "more than 0"),
        ({"hours": float("nan")}, "more than 0"),
        ({"pilots": ["none"]}, "there is no school 'none'"),
    ],
)
def test_what_makes_no_sense_is_refused(registry: Registry, how: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        start(registry, **how)
    with registry.read() as session:
        assert rollouts.everything(session) == []


def test_a_judgement_of_what_somebody_has_changed_meanwhile_is_not_followed(registry: Registry) -> None:
    seen = start(registry)
    with registry.change("person:lan") as change:
        rollouts.pause(change, seen.id)
    with registry.change("system") as change:
        assert not rollouts.move(change, seen, Step("running", 1))
    paused = newest(registry)
    assert (paused.state, paused.wave) == ("paused", seen.wave)
    with registry.change("system") as change:
        assert rollouts.move(change, paused, Step("withdrawn", paused.wave, "2 of 3 devices refuse it"))
    assert (newest(registry).state, newest(registry).why) == ("withdrawn", "2 of 3 devices refuse it")
    assert actions(registry)[0] == "rollout.withdrawn"
