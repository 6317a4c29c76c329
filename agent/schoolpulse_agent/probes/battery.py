"""How full a laptop's batteries are, and how much they have worn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("battery", "percent"): Metric("%", "Charge of the battery", "Mức pin", "87.0"),
    ("battery", "plugged"): Metric("1", "On mains (1) or battery (0)", "Đang cắm điện (1) hay chạy pin (0)", "1"),
    ("battery", "health_percent"): Metric(
        "%", "What the battery can hold, of what it held when new", "Dung lượng pin còn lại so với lúc mới", "78.5"
    ),
    ("battery", "cycles"): Metric("1 total", "Times the battery was charged", "Số lần sạc của pin", "312"),
}
TAGS = {("battery", "name"): Tag("Which battery", "Pin nào", "BAT0")}
WHY = Why(
    "Shows laptops whose battery is worn out, and machines that run without mains.",
    "Cho biết máy tính xách tay chai pin và máy đang chạy không có điện lưới.",
)
FOLDER = Path("/sys/class/power_supply")
LOOK = 600.0  # seconds between two looks at which batteries there are


def parse(uevent: bytes) -> dict[str, float]:
    """The fields of one battery's ``uevent`` (Documentation/ABI/testing/sysfs-class-power).

    None for what is no battery of this machine: batteries of mice and headsets say that their scope is a device.
    """
    said: dict[str, str] = {}
    for line in uevent.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        said[name[len("POWER_SUPPLY_") :].lower()] = value
    if said.get("type") != "Battery" or said.get("scope") == "Device" or said.get("present") == "0":
        return {}
    found = {}
    for kind in ("energy", "charge"):
        now, full, new = (_number(said, f"{kind}_{what}") for what in ("now", "full", "full_design"))
        if now is not None and full:
            found["percent"] = min(100.0, 100 * now / full)
        if full and new:
            found["health_percent"] = 100 * full / new
    percent, cycles = _number(said, "capacity"), _number(said, "cycle_count")
    if percent is not None and percent <= 100:
        found["percent"] = percent
    if cycles:  # 0 and less: the battery does not count
        found["cycles"] = cycles
    if said.get("status") in ("Charging", "Full", "Not charging", "Discharging"):
        found["plugged"] = float(said["status"] != "Discharging")
    return {name: round(value, 1) for name, value in found.items()}


def _said(folder: Path) -> bytes:
    return proc.once(str(folder / "uevent"))


def _number(said: dict[str, str], name: str) -> float | None:
    text = said.get(name, "")
    return float(text) if text.isascii() and text.isdigit() else None


def _of_psutil() -> Iterator[Reading]:
    import psutil

    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if found is not None:
        fields = {"percent": round(float(found.percent), 1)}
        if found.power_plugged is not None:
            fields["plugged"] = float(found.power_plugged)
        yield Reading("battery", {"name": "BAT0"}, fields)


@dataclass
class Probe:
    """Every battery of the machine itself; wear and charges on Linux only."""

    every: float = 60.0
    _batteries: list[Path] = field(default_factory=list, init=False, repr=False, compare=False)
    _look_at: float = field(default=0.0, init=False, repr=False, compare=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a battery, with tag ``name``."""
        if not proc.LINUX:
            yield from _of_psutil()
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._batteries = sorted(folder for folder in FOLDER.glob("*") if parse(_said(folder)))
        for folder in self._batteries:
            fields = parse(_said(folder))
            if fields:
                yield Reading("battery", {"name": folder.name}, fields)
