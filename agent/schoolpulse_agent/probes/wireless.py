"""How strong the signal of each Wi-Fi connection is. Never the name or the address of a network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("wireless", "link"): Metric(
        "1", "Quality of the Wi-Fi connection, 0 to 70", "Chất lượng kết nối Wi-Fi, từ 0 đến 70", "55"
    ),
    ("wireless", "level"): Metric("dBm", "Wi-Fi signal", "Mức tín hiệu Wi-Fi", "-55"),
    ("wireless", "noise"): Metric("dBm", "Noise beside the Wi-Fi signal", "Mức nhiễu Wi-Fi", "-92"),
}
TAGS = {("wireless", "interface"): Tag("Wi-Fi interface", "Cổng mạng Wi-Fi", "wlan0")}
WHY = Why(
    "Shows machines and rooms that are slow because Wi-Fi is weak there.",
    "Cho biết máy và phòng mạng chậm vì sóng Wi-Fi yếu.",
)
TABLE = "/proc/net/wireless"
FOLDER = Path("/sys/class/net")
LOOK = 600.0  # seconds between two looks at which interfaces are Wi-Fi
UNKNOWN = -256.0  # what the kernel writes where a driver doesn't know
WEAKEST, STRONGEST = -110.0, -40.0  # dBm: what the kernel calls 0 and 70 (net/wireless/wext-compat.c)
# Interface, state, then link, level, noise, each with a point if it is new.
_LINE = re.compile(
    rb"^ *([!-9;-~]{1,15}): +[0-9a-f]{4} +(-?\d{1,4})[. ] *(-?\d{1,4})[. ] *(-?\d{1,4})[. ]", re.MULTILINE
)


def parse(table: bytes) -> dict[str, dict[str, float]]:
    """Fields by interface, of Linux's /proc/net/wireless; an interface without a connection has no signal."""
    found = {}
    for line in _LINE.finditer(table):
        link, level, noise = (float(line[number]) for number in (2, 3, 4))
        fields = {"link": link} if link > 0 else {}
        # Above 0 are old drivers' units of their own.
        fields.update({kind: said for kind, said in (("level", level), ("noise", noise)) if UNKNOWN < said < 0})
        if "link" in fields or "level" in fields:
            found[line[1].decode()] = fields
    return found


def quality(level: float) -> float:
    """The ``link`` that the kernel makes of a signal."""
    return min(max(level, WEAKEST), STRONGEST) - WEAKEST


def interfaces(folder: Path) -> dict[str, int]:
    """The Wi-Fi interfaces and their indices."""
    found = {}
    for path in sorted(folder.glob("*")):
        index = proc.once(str(path / "ifindex"))
        if index.isdigit() and ((path / "phy80211").exists() or (path / "wireless").exists()):
            found[path.name] = int(index)
    return found


@dataclass
class Probe:
    """Every Wi-Fi connection; Linux only."""

    every: float = 60.0
    _wifi: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _look_at: float = field(default=0.0, init=False, repr=False, compare=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a connection, with tag ``interface``."""
        if not proc.LINUX:
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at, self._wifi = now + LOOK, interfaces(FOLDER)
        if not self._wifi:
            return
        try:
            table = proc.read(TABLE)
        except FileNotFoundError:  # a kernel without the wireless extensions
            table = b""
        found = parse(table)
        unsaid = {name: index for name, index in self._wifi.items() if f"{name}:".encode() not in table}
        if unsaid:  # drivers of Wi-Fi 7 are not in that table, on any kernel
            found.update(_of_netlink(unsaid))
        for name in sorted(found.keys() & self._wifi.keys()):
            yield Reading("wireless", {"interface": name}, found[name])


def _of_netlink(wifi: dict[str, int]) -> dict[str, dict[str, float]]:
    from schoolpulse_agent import nl80211

    number = nl80211.family("nl80211")
    found: dict[str, dict[str, float]] = {}
    if number is None:
        return found
    for name, index in wifi.items():
        try:
            level = nl80211.signal(number, index)
        except OSError:  # unplugged since, or not one that connects
            continue
        if level is not None and UNKNOWN < level < 0:
            found[name] = {"link": quality(level), "level": level}
    return found
