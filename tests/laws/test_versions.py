"""One version everywhere."""

from __future__ import annotations

import importlib
import tomllib

from running import ROOT

PARTS = ("agent", "collector", "dashboards", "api")


def project(part: str) -> dict:
    return tomllib.loads((ROOT / part / "pyproject.toml").read_text())["project"]


def test_all_distributions_and_packages_have_one_version() -> None:
    versions = {project(part)["version"] for part in PARTS}
    versions |= {getattr(importlib.import_module(f"schoolpulse_{part}"), "__version__", None) for part in PARTS}
    assert len(versions) == 1, versions


def test_pins_between_our_distributions_are_that_version() -> None:
    version = project("agent")["version"]
    pins = [each for part in PARTS for each in project(part)["dependencies"] if each.startswith("schoolpulse-")]
    assert pins and all(pin.endswith(f"=={version}") for pin in pins), pins


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {project('agent')['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_agent_needs_only_psutil_and_paho() -> None:
    assert [each.split(">")[0] for each in project("agent")["dependencies"]] == ["paho-mqtt", "psutil", "tomli"]
