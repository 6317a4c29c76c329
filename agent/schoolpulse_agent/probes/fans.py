"""How fast the fans turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from schoolpulse_agent import proc
from schoolpulse_agent.hwmon import Sensors
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {("sensors", "fan_input"): Metric("rpm", "Speed of a fan", "Tốc độ quạt", "1180")}
TAGS = {
    ("sensors", "chip"): Tag("Chip that reads the fan", "Chip đọc tốc độ quạt", "nct6775"),
    ("sensors", "feature"): Tag("Which fan", "Quạt nào", "cpu_fan"),
}
WHY = Why("Warns of a fan that has stopped.", "Cảnh báo khi quạt ngừng quay.")
FASTEST = 30_000  # rpm: what is above comes from a pin where no fan is


@dataclass
class Probe:
    """Every fan that has ever turned since the start: boards list sockets where there is none. Linux only."""

    every: float = 0.0
    _sensors: Sensors = field(default_factory=lambda: Sensors("fan"), init=False, repr=False, compare=False)
    _turned: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a fan."""
        if not proc.LINUX:
            return
        for sensor, speed in self._sensors.read():
            if 0 < speed < FASTEST:
                self._turned.add(sensor.path)
            if sensor.path in self._turned and 0 <= speed < FASTEST:
                tags = {"chip": sensor.chip, "feature": sensor.feature}
                yield Reading("sensors", tags, {"fan_input": float(speed)})
