"""How warm processors, disks and boards are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schoolpulse_agent import hwmon, proc
from schoolpulse_agent.hwmon import Sensors
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {("temp", "temp"): Metric("°C", "Temperature", "Nhiệt độ", "48.0")}
TAGS = {("temp", "sensor"): Tag("Which sensor", "Cảm biến nào", "coretemp_package_id_0")}
WHY = Why(
    "Warns of dust, broken fans and hot rooms before a machine stops.",
    "Cảnh báo bụi bẩn, quạt hỏng, phòng nóng trước khi máy dừng.",
)
COLDEST, HOTTEST = -40.0, 150.0  # °C: what is outside comes from a sensor that is not connected
ZONES = Path("/sys/class/thermal")  # where a machine has no chip that says more, as small ARM boards


def of_zones(folder: Path) -> list[tuple[str, int]]:
    """Sensor and thousandths of °C of each thermal zone (Documentation/driver-api/thermal/sysfs-api.rst)."""
    found = []
    for zone in sorted(folder.glob("thermal_zone*")):
        said = proc.once(str(zone / "temp"))
        if said.lstrip(b"-").isdigit():
            kind = hwmon.name_of(proc.once(str(zone / "type")))
            found.append((f"{zone.name}_{kind}".strip("_"), int(said)))
    return found


def _elsewhere() -> list[tuple[str, float]]:
    import psutil  # knows of none on Windows

    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    return [
        (hwmon.name_of(f"{chip}_{each.label or number}".encode()), each.current)
        for chip, entries in sensors.items()
        for number, each in enumerate(entries, 1)
    ]


@dataclass
class Probe:
    """Every sensor that says something believable."""

    every: float = 0.0
    _sensors: Sensors = field(default_factory=lambda: Sensors("temp"), init=False, repr=False, compare=False)
    _look_at: float = field(default=0.0, init=False, repr=False, compare=False)  # for thermal zones, where none are

    def read(self) -> Iterator[Reading]:
        """Yield one reading a sensor."""
        seen = set()
        for name, degrees in self._all():
            if COLDEST < degrees < HOTTEST and degrees and name not in seen:
                seen.add(name)
                yield Reading("temp", {"sensor": name}, {"temp": round(degrees, 1)})

    def _all(self) -> list[tuple[str, float]]:
        if not proc.LINUX:
            return _elsewhere()
        found = [(f"{sensor.chip}_{sensor.feature}", said) for sensor, said in self._sensors.read()]
        now = time.monotonic()
        if not found and now >= self._look_at:
            found = of_zones(ZONES)
            self._look_at = 0.0 if found else now + hwmon.LOOK
        return [(name, said / 1000) for name, said in found]
