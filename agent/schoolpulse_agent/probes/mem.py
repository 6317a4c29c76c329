"""How much memory (RAM) is in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("mem", "total"): Metric("B", "Memory installed", "Bộ nhớ RAM đã lắp", "8589934592"),
    ("mem", "available"): Metric("B", "Memory available", "Bộ nhớ RAM còn dùng được", "5153960755"),
    ("mem", "used"): Metric("B", "Memory used", "Bộ nhớ RAM đã dùng", "3006477107"),
    ("mem", "free"): Metric("B", "Memory free", "Bộ nhớ RAM trống", "2147483648"),
    ("mem", "used_percent"): Metric("%", "Memory used", "Bộ nhớ RAM đã dùng", "35.0"),
    ("mem", "available_percent"): Metric("%", "Memory available", "Bộ nhớ RAM còn dùng được", "60.0"),
    ("mem", "cached"): Metric("B", "Memory used as disk cache", "Bộ nhớ RAM làm bộ đệm đĩa", "2576980377"),
    ("mem", "buffered"): Metric("B", "Memory used as buffers", "Bộ nhớ RAM làm vùng đệm", "214748364"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows machines with too little memory for what they are used for.", "Cho biết máy thiếu bộ nhớ RAM so với nhu cầu."
)


@dataclass
class Probe:
    """The machine's memory as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        mem = psutil.virtual_memory()
        fields = {
            "total": float(mem.total),
            "available": float(mem.available),
            "used": float(mem.used),
            "free": float(mem.free),
            "used_percent": round(100 * mem.used / mem.total, 2),
            "available_percent": round(100 * mem.available / mem.total, 2),
        }
        if hasattr(mem, "cached"):  # Linux
            fields.update(cached=float(mem.cached), buffered=float(mem.buffers))
        yield Reading("mem", {}, fields)
