"""Each benchmark still runs, on little; what it measures is for `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import ROOT


def results(program: str, out: Path, *asked: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(ROOT / "tests/bench" / program), "--out", str(out), *asked]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert run.returncode in (0, 1), run.stderr  # 1: a target was missed, as happens on a busy machine
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["machine"]["cores"] > 0
    assert len(run.stdout.splitlines()) == 1 + len(written["results"])
    found: list[dict[str, Any]] = written["results"]
    return found


@pytest.mark.parametrize("broker", ["mosquitto", "nats", "embedded"])
def test_connections_come_in_by_tls_come_back_after_a_restart_and_all_are_reached(broker: str, tmp_path: Path) -> None:
    asked = ["--broker", broker, "--count", "30", "--spread", "0.5"]
    shares = [
        each for each in results("tls_connections.py", tmp_path / "new" / "tls.json", *asked) if each["unit"] == "%"
    ]
    assert len(shares) == 3 and all(each["ok"] for each in shares)


def test_a_whole_centre_is_asked_and_machines_enrol_there(tmp_path: Path) -> None:
    asked = ["--devices", "200", "--schools", "40", "--enrolments", "8", "--runs", "3", "--registry", "sqlite"]
    named = {each["name"]: each["value"] for each in results("rights.py", tmp_path / "rights.json", *asked)}
    assert {"SQLite: enrolments", "SQLite: permission decision"} <= named.keys()


def test_the_registry_is_measured_on_both_databases(tmp_path: Path) -> None:
    found = results("registry.py", tmp_path / "registry.json", "--devices", "200", "--schools", "40")
    assert {each["name"].split(":")[0] for each in found} == {"SQLite", "PostgreSQL"}


def test_the_agent_is_measured_as_it_is_installed(tmp_path: Path) -> None:
    asked = ["--reports", "2", "--interval", "1", "--minutes", "0", "--peers"]
    named = {each["name"]: each["value"] for each in results("agent.py", tmp_path / "agent.json", *asked)}
    ours = {name.removeprefix("schoolpulse-agent: "): value for name, value in named.items()}
    assert ours["values, a report"] > 20 and ours["CPU, a report"] > 0 and ours["memory, PSS"] > 1
    assert ours["ports that can be reached"] == ours["files of its folder touched"] == 0
