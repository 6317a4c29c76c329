"""Displays are counted: those that are connected, and of them those that show a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schoolpulse_agent.probes import display
from schoolpulse_agent.probes.display import Probe, of_linux


def connector(drm: Path, name: str, **files: str) -> None:
    (drm / name).mkdir()
    for file, content in files.items():
        (drm / name / file).write_text(content + "\n")


def test_connected_displays_are_counted_and_those_that_are_on(tmp_path: Path) -> None:
    (tmp_path / "card0").mkdir()
    (tmp_path / "renderD128").mkdir()
    connector(tmp_path, "card0-eDP-1", status="connected", enabled="enabled", dpms="On")
    connector(tmp_path, "card0-HDMI-A-1", status="connected", enabled="enabled", dpms="Off")  # asleep
    connector(tmp_path, "card0-DP-1", status="connected", enabled="disabled", dpms="Off")
    connector(tmp_path, "card0-DP-2", status="disconnected", enabled="disabled", dpms="Off")
    connector(tmp_path, "card1-VGA-1", status="connected", enabled="enabled")  # a driver without dpms
    connector(tmp_path, "card0-Writeback-1", status="connected", enabled="enabled", dpms="On")
    connector(tmp_path, "card0-DP-3")  # unplugged while it was read
    assert of_linux(tmp_path) == {"connected": 4.0, "on": 2.0}


def test_a_projector_that_is_unplugged_is_told_as_none(tmp_path: Path) -> None:
    connector(tmp_path, "card0-HDMI-A-1", status="disconnected", enabled="disabled", dpms="Off")
    assert of_linux(tmp_path) == {"connected": 0.0, "on": 0.0}


def test_where_nothing_could_be_connected_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_linux(tmp_path / "none") == {}
    monkeypatch.setattr(of_linux, "__defaults__", (tmp_path,))
    assert list(Probe().read()) == []


def test_no_serial_number_or_name_of_a_display_is_read(tmp_path: Path) -> None:
    connector(tmp_path, "card0-DP-1", status="connected", enabled="enabled", dpms="On")
    (tmp_path / "card0-DP-1/edid").mkdir()  # reading it would raise
    assert of_linux(tmp_path) == {"connected": 1.0, "on": 1.0}


class Key:
    def __enter__(self) -> Key:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("count", "expected"), [(2, [{"connected": 2.0}]), (None, [])])
def test_windows_counts_them_in_its_registry(count: int | None, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(root: object, path: str) -> Key:
        assert (root, path) == ("HKLM", display.MONITORS)
        if count is None:
            raise FileNotFoundError
        return Key()

    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE="HKLM", OpenKey=opened, QueryValueEx=lambda key, name: ({"Count": count}[name], 4)
    )
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert [reading.fields for reading in Probe().read()] == expected
