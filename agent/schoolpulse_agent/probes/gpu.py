"""How busy, warm and full graphics cards are.

One measurement for cards of all makers, so that one chart or rule holds for all. Its fields have the names that
Telegraf's ``nvidia_smi`` and ``amd_rocm_smi`` share; those count memory in MiB and in bytes, here it is bytes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("gpu", "utilization_gpu"): Metric("%", "Use of the graphics card", "Mức sử dụng card đồ họa", "12"),
    ("gpu", "temperature_gpu"): Metric("°C", "Temperature of the graphics card", "Nhiệt độ card đồ họa", "46"),
    ("gpu", "memory_total"): Metric("B", "Memory of the graphics card", "Dung lượng bộ nhớ card đồ họa", "8589934592"),
    ("gpu", "memory_used"): Metric(
        "B", "Memory of the graphics card in use", "Bộ nhớ card đồ họa đã dùng", "734003200"
    ),
    ("gpu", "fan_speed"): Metric("%", "Speed of the graphics card's fan", "Tốc độ quạt card đồ họa", "30"),
    ("gpu", "power_draw"): Metric("W", "Power of the graphics card", "Công suất card đồ họa", "18.4"),
    ("gpu", "clocks_current_graphics"): Metric(
        "MHz", "Clock of the graphics card, 0 asleep", "Xung nhịp card đồ họa, 0 là đang ngủ", "1150"
    ),
}
TAGS = {
    ("gpu", "driver"): Tag("Driver of the card", "Trình điều khiển của card", "nvidia"),
    ("gpu", "index"): Tag("Which card of this driver, by its slot", "Card thứ mấy của trình điều khiển này", "0"),
}
WHY = Why(
    "Shows graphics cards that overheat, and labs whose cards are too small or never used.",
    "Cho biết card đồ họa quá nóng, và phòng máy có card quá yếu hoặc không dùng đến.",
)
DRM = Path("/sys/class/drm")
NVIDIA = Path("/proc/driver/nvidia/gpus")  # there once NVIDIA's own driver has found a card
PCI = Path("/sys/bus/pci/devices")
NVIDIA_SMI = "/usr/bin/nvidia-smi"
WINDOWS = sys.platform == "win32"
LOOK = 600.0  # seconds between two looks at which cards there are
# What nvidia-smi is asked for (nvidia-smi --help-query-gpu), what the answers are called and what they are times.
QUERY = {
    "utilization.gpu": ("utilization_gpu", 1),
    "temperature.gpu": ("temperature_gpu", 1),
    "memory.total": ("memory_total", 1_048_576),
    "memory.used": ("memory_used", 1_048_576),
    "fan.speed": ("fan_speed", 1),
    "power.draw": ("power_draw", 1),
}
# Files of a card's folder that drivers keep: amdgpu, i915.
FILES = {
    "utilization_gpu": "device/gpu_busy_percent",
    "memory_total": "device/mem_info_vram_total",
    "memory_used": "device/mem_info_vram_used",
    "clocks_current_graphics": "gt_act_freq_mhz",
}


def parse(said: bytes) -> Iterator[tuple[str, dict[str, float]]]:
    """Index and fields of each card, of nvidia-smi's CSV; what a card can't tell is in brackets and left out."""
    for line in said.decode("ascii", "replace").splitlines():
        index, *words = (word.strip() for word in line.split(","))
        if index.isdecimal() and len(index) <= 3 and len(words) == len(QUERY):
            fields = {name: float(word) * by for word, (name, by) in zip(words, QUERY.values()) if _is_number(word)}
            if fields:
                yield index, fields


def _is_number(word: str) -> bool:
    return len(word) <= 16 and word.isascii() and word.replace(".", "", 1).isdigit()


def program() -> str:
    """Where NVIDIA's driver puts its program."""
    return os.environ.get("SYSTEMROOT", r"C:\Windows") + r"\System32\nvidia-smi.exe" if WINDOWS else NVIDIA_SMI


def has_nvidia() -> bool:
    """Whether there is a card to ask for and none asleep: asking would wake a laptop's second one."""
    if not WINDOWS:
        awake = [_is_awake(PCI / card.name) for card in NVIDIA.glob("*")]
        if not awake or not all(awake):
            return False
    return Path(program()).exists()


def _is_awake(device: Path) -> bool:
    return proc.once(str(device / "power/runtime_status")) != b"suspended"


def cards(folder: Path) -> list[tuple[str, str, Path]]:
    """Driver, index and folder of each card that says something in its files, by its slot."""
    found: list[tuple[str, str, Path]] = []
    for card in sorted(folder.glob("card*"), key=lambda each: (each / "device").resolve()):
        if card.name[4:].isdigit() and any((card / name).exists() for name in FILES.values()):
            driver = (card / "device/driver").resolve().name
            index = sum(other == driver for other, _, _ in found)
            found.append((driver, str(index), card))
    return found


def of_files(card: Path) -> dict[str, float]:
    """The fields of one card; none while it is suspended: reading would wake it."""
    if not _is_awake(card / "device"):
        return {}
    said = {name: proc.once(str(card / path)) for name, path in FILES.items()}
    return {name: float(text) for name, text in said.items() if text.isdigit() and len(text) <= 16}


@dataclass
class Probe:
    """Every graphics card whose driver says something: NVIDIA's own, amdgpu, and of i915 (Intel) the clock."""

    patience: ClassVar[float] = 30.0  # nvidia-smi is slow where no program keeps the driver loaded
    every: float = 300.0
    _cards: list[tuple[str, str, Path]] = field(default_factory=list, init=False, repr=False, compare=False)
    _look_at: float = field(default=0.0, init=False, repr=False, compare=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a card."""
        if proc.LINUX:
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at, self._cards = now + LOOK, cards(DRM)
            for driver, index, folder in self._cards:
                fields = of_files(folder)
                if fields:
                    yield Reading("gpu", {"driver": driver, "index": index}, fields)
        if (proc.LINUX or WINDOWS) and has_nvidia():
            from schoolpulse_agent import programs

            question = [program(), "--query-gpu=index," + ",".join(QUERY), "--format=csv,noheader,nounits"]
            for index, fields in parse(programs.run(question, self.patience - 5)):
                yield Reading("gpu", {"driver": "nvidia", "index": index}, fields)
