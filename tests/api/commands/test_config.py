"""The commands for configurations and the fleet, run as a person would."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_agent.parts import inventory_of
from schoolpulse_api import __main__ as program
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Registry, agents, equipment
from schoolpulse_collector.registry.agents import Running
from schoolpulse_collector.registry.model import Room, School


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    registry = Registry(Settings(home=tmp_path / "home").registry_url)
    registry.put(School(key="s1", name="Trường 1"), Room(key="r1", school="s1", name="Phòng máy"))
    registry.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
    with registry.change("system") as change:
        agents.put(change, "d1", Running("0.1.0", "", f"{'a' * 16} no report arrived under it"))
        system = {"id": "windows", "version": "10", "release": "22H2", "name": "Windows 10 Pro"}
        equipment.put(change, "d1", inventory_of({"os": system}))
    registry.close()
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> int:
    return program.main(["--home", str(home), *arguments])


def test_settings_add_up_in_one_place_are_shown_and_cleared(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "config", "show") == 0 and "nothing is wanted" in capsys.readouterr().out
    assert run(home, "config", "set", "--school", "s1", "reports.interval=120") == 0
    assert run(home, "config", "set", "--school", "s1", "probe.disk.enabled=false", "--kind", "") == 0
    assert run(home, "config", "show") == 0
    shown = capsys.readouterr().out
    assert '{"probe": {"disk": {"enabled": false}}, "reports": {"interval": 120}}' in shown and "school s1" in shown
    assert run(home, "config", "clear", "--school", "s1") == 0
    assert run(home, "config", "clear", "--school", "s1") == 1 and "nothing is wanted there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [("reports.intervall=1", "did you mean 'interval'"), ("reports.interval=soon", "SECTION.KEY=VALUE")],
)
def test_a_mistake_is_named_with_what_to_do(
    home: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "config", "set", line) == 1 and said in capsys.readouterr().err


@pytest.mark.parametrize("command", [["fleet"], ["device", "list"]])
def test_a_school_that_is_not_there_is_no_empty_list(
    home: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *command, "none") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("schoolpulse: there is no school 'none'") and not printed.out


def test_only_kinds_that_machines_can_have_are_configured(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(home, "config", "set", "reports.interval=30", "--kind", "lab")
    assert "'lab_pc'" in capsys.readouterr().err
    assert run(home, "config", "show") == 0 and "nothing is wanted" in capsys.readouterr().out


def test_the_fleet_is_counted_with_the_end_of_support(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "fleet") == 0
    shown = capsys.readouterr().out
    assert "0.1.0" in shown and "14/10/2025" in shown and "ended" in shown and "no report arrived under it" in shown
    assert run(home, "device", "list") == 0 and "0.1.0" in capsys.readouterr().out
