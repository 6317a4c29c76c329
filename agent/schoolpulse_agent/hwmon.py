"""The sensors that Linux shows in /sys/class/hwmon: where each is, looked for rarely, and what it says."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Callable, NamedTuple

from schoolpulse_agent import proc

LOOK = 600.0  # seconds between two looks at which sensors there are
FOLDER = Path("/sys/class/hwmon")


class Sensor(NamedTuple):
    """One input of one chip."""

    chip: str  # coretemp, k10temp; of several of a kind with its device: nvme_nvme0
    feature: str  # its label as a name, "package_id_0"; without one as in its file's name, "temp1"
    path: str


class Sensors:
    """The inputs of one kind (``temp``, ``fan``) of all chips."""

    def __init__(self, kind: str, folder: Path = FOLDER, clock: Callable[[], float] = time.monotonic) -> None:
        self._kind, self._folder, self._clock = kind, folder, clock
        self._sensors: list[Sensor] = []
        self._look_at = 0.0

    def read(self) -> list[tuple[Sensor, int]]:
        """Each sensor and the whole number it gives now; one that says nothing is left out."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._sensors = find(self._kind, self._folder)
        found = []
        for sensor in self._sensors:
            said = proc.once(sensor.path)
            if said.lstrip(b"-").isdigit():
                found.append((sensor, int(said)))
        return found


def find(kind: str, folder: Path) -> list[Sensor]:
    """The inputs of a kind, by chip and number (Documentation/hwmon/sysfs-interface.rst)."""
    found: list[Sensor] = []
    chips = sorted(folder.glob("hwmon*"), key=_number)
    names = [name_of(proc.once(str(chip / "name"))) or "chip" for chip in chips]
    for chip, name in zip(chips, names):
        inputs = sorted(chip.glob(f"{kind}[0-9]*_input"), key=_number)
        if proc.once(str(chip / "device/power/runtime_status")) == b"suspended":  # to ask would wake it
            continue
        # The numbers of hwmon change from boot to boot: of several the device tells which is which.
        own = name if names.count(name) == 1 else f"{name}_{name_of((chip / 'device').resolve().name.encode())}"
        taken: set[str] = set()
        for path in inputs:
            plain = path.name[: -len("_input")]
            label = name_of(proc.once(str(chip / f"{plain}_label"))) or plain
            feature = label if label not in taken else f"{label}_{plain}"
            taken.add(feature)
            found.append(Sensor(own, feature, str(path)))
    return found


def name_of(said: bytes) -> str:
    """A chip's or label's text as a short plain name: letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", said.decode("ascii", "ignore").lower()).strip("_")[:48]


def _number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+", path.name)
    return int(digits[0]) if digits else 0, path.name
