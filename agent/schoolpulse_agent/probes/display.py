"""How many displays (monitors, projectors, boards) are connected and switched on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("display", "connected"): Metric("1", "Displays connected", "Số màn hình đang nối", "1"),
    ("display", "on"): Metric("1", "Displays that show a picture", "Số màn hình đang hiển thị", "1"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows missing or dead displays and projectors, and displays left on overnight.",
    "Cho biết màn hình, máy chiếu bị rút hoặc hỏng, và màn hình bật qua đêm.",
)
DRM = Path("/sys/class/drm")
MONITORS = r"SYSTEM\CurrentControlSet\Services\monitor\Enum"  # counts the monitors that are there, whoever is signed in


def of_linux(folder: Path = DRM) -> dict[str, float]:
    """The connectors of all graphics cards (kernel: drm_sysfs.c); empty where no card has any. No EDID is read."""
    connectors = [path for path in folder.glob("card*-*") if "-Writeback-" not in path.name]
    connected = [path for path in connectors if _word(path / "status") == "connected"]
    on = [path for path in connected if _word(path / "enabled") == "enabled" and _word(path / "dpms") in ("On", "")]
    return {"connected": float(len(connected)), "on": float(len(on))} if connectors else {}


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):  # unplugged since, or a driver that has none
        return ""


def of_windows() -> dict[str, float]:
    """The count that Windows keeps; whether they show a picture it does not tell a service. Not yet run on a real one.

    EnumDisplayDevices sees nothing from a service: it has no desktop.
    """
    import winreg

    windows: Any = winreg
    try:
        with windows.OpenKey(windows.HKEY_LOCAL_MACHINE, MONITORS) as key:
            return {"connected": float(windows.QueryValueEx(key, "Count")[0])}
    except FileNotFoundError:  # none has ever been there
        return {}


@dataclass
class Probe:
    """All displays of the machine together."""

    every: float = 300.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading, none where there is nothing that a display could be connected to."""
        fields = of_windows() if sys.platform == "win32" else of_linux()
        if fields:
            yield Reading("display", {}, fields)
