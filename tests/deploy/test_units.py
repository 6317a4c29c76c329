"""The systemd units: no mistake in them, and shut as tightly as was promised."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from running import ROOT

UNITS = sorted((ROOT / "deploy/systemd").iterdir())
EXPOSURE = {"schoolpulse-agent.service": 2.5, "schoolpulse-smart.service": 2.5}  # 0 to 10, systemd's own measure


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_no_mistake(unit: Path) -> None:
    ended = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    about_us = [line for line in ended.stderr.splitlines() if "schoolpulse" in line]
    assert (ended.returncode, about_us) == (0, [])


@pytest.mark.parametrize(("name", "most"), EXPOSURE.items())
def test_a_service_is_shut_as_tightly_as_promised(name: str, most: float) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", ROOT / "deploy/systemd" / name]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0]) <= most


def test_the_sandbox_hides_nothing_that_the_probes_read() -> None:
    text = (ROOT / "deploy/systemd/schoolpulse-agent.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert not {"ProtectProc", "ProcSubset", "PrivateUsers", "PrivateDevices", "PrivateNetwork"} & set(settings)
    assert settings["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"]
    assert settings["ReadWritePaths"] == "/etc/schoolpulse", "the agent renews its own secret and certificate there"
