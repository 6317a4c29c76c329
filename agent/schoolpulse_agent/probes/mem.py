"""How much memory (RAM) is in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading

METRICS = {
    ("mem", "total"): Metric("B", "Memory installed", "Bộ nhớ RAM đã lắp"),
    ("mem", "available"): Metric("B", "Memory available", "Bộ nhớ RAM còn dùng được"),
    ("mem", "used"): Metric("B", "Memory used", "Bộ nhớ RAM đã dùng"),
    ("mem", "free"): Metric("B", "Memory free", "Bộ nhớ RAM trống"),
    ("mem", "used_percent"): Metric("%", "Memory used", "Bộ nhớ RAM đã dùng"),
    ("mem", "available_percent"): Metric("%", "Memory available", "Bộ nhớ RAM còn dùng được"),
    ("mem", "cached"): Metric("B", "Memory used as disk cache", "Bộ nhớ RAM làm bộ đệm đĩa"),
    ("mem", "buffered"): Metric("B", "Memory used as buffers", "Bộ nhớ RAM làm vùng đệm"),
}


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
