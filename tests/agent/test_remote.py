"""What the centre may want of an agent, and that nothing else has any effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import probe, remote, settings
from schoolpulse_agent.settings import SettingsError
from schoolpulse_agent.wire import BadReport

OWN = settings.parse(
    {"device": {"id": "d1", "school": "s", "secret": "x"}, "probe": {"swap": {"enabled": False}}}, "agent.toml"
)


def test_intervals_pace_and_probes_are_taken_over_and_all_else_stays() -> None:
    OWN.path = Path("agent.toml")
    wanted = {
        "reports": {"interval": 30, "replay_spread": 10},
        "probe": {"cpu": {"enabled": False}, "disk": {"every": 300}, "swap": {"enabled": True}},
    }
    found = remote.merged(OWN, wanted)
    assert (found.reports.interval, found.reports.replay_spread, found.reports.folder) == (30, 10, OWN.reports.folder)
    assert "cpu" not in found.probes and "swap" in found.probes and found.probes["disk"].every == 300
    assert (found.device, found.broker, found.centre, found.path) == (OWN.device, OWN.broker, OWN.centre, OWN.path)
    assert OWN.reports.interval == 60 and "swap" not in OWN.probes  # it is not changed itself
    assert remote.merged(found, {}) == remote.merged(OWN, {})  # over its own file, not over this


@pytest.mark.parametrize(
    "wanted",
    [
        {"broker": {"url": "mqtts://elsewhere:8883"}},
        {"centre": {"url": "https://elsewhere"}},
        {"device": {"id": "d2"}},
        {"update": {"enabled": True}},
        {"update": {"public_key": "mine"}},
        {"reports": {"folder": "/tmp"}},
        {"reports": {"keep_mb": 1}},
        {"reports": {"interval": 0}},
        {"reports": {"interval": "30"}},
        {"reports": 7},
        {"probe": 7},
        {"probe": {"cpu": 7}},
        {"probe": {"cpu": {"evry": 1}}},
        {"probe": {"cpu": {"enabled": 1}}},
        {"nonsense": {}},
    ],
)
def test_anything_else_is_refused_as_a_whole(wanted: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="the centre's configuration"):
        remote.merged(OWN, wanted)


def test_a_probe_that_this_version_does_not_know_is_no_reason_to_refuse_the_rest() -> None:
    assert (
        remote.merged(OWN, {"reports": {"interval": 30}, "probe": {"of_tomorrow": {"every": 1}}}).reports.interval == 30
    )


def test_what_only_the_machines_own_file_may_set_is_named_by_its_probe() -> None:
    for name in probe.names():
        cls = probe.probe_class(name)
        for key in getattr(cls, "local", ()):
            assert key in cls.__dataclass_fields__
            with pytest.raises(SettingsError, match=f"probe.{name}.{key}"):
                remote.merged(OWN, {"probe": {name: {key: []}}})


def test_a_configuration_comes_out_as_it_went_in() -> None:
    for config in (remote.Config("", {}), remote.Config("a" * 16, {"reports": {"interval": 30}}, {"version": "1.0"})):
        assert remote.decode(remote.encode(config)) == config


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.text(), st.text() | st.integers()).map(lambda d: json.dumps(d).encode())
)
def test_no_bytes_do_more_than_being_refused(body: bytes) -> None:
    with pytest.raises(BadReport):
        remote.decode(body)
