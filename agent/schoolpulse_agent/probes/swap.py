"""How much of the swap space is in use, and how much goes in and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("swap", "total"): Metric("B", "Swap space", "Dung lượng bộ nhớ tráo đổi", "2147483648"),
    ("swap", "used"): Metric("B", "Swap used", "Bộ nhớ tráo đổi đã dùng", "104857600"),
    ("swap", "free"): Metric("B", "Swap free", "Bộ nhớ tráo đổi còn trống", "2042626048"),
    ("swap", "used_percent"): Metric("%", "Swap used", "Bộ nhớ tráo đổi đã dùng", "4.9"),
    ("swap", "in"): Metric(
        "B total", "Read back from swap since boot", "Đọc lại từ vùng tráo đổi từ khi bật máy", "1048576"
    ),
    ("swap", "out"): Metric("B total", "Written to swap since boot", "Ghi ra vùng tráo đổi từ khi bật máy", "4194304"),
}
TAGS: Tags = {}
WHY = Why("Shows machines that are slow because memory is short.", "Cho biết máy chậm vì thiếu bộ nhớ RAM.")


@dataclass
class Probe:
    """The machine's swap space as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        swap = psutil.swap_memory()
        fields = {
            "total": float(swap.total),
            "used": float(swap.used),
            "free": float(swap.free),
            "used_percent": float(swap.percent),
            "in": float(swap.sin),
            "out": float(swap.sout),
        }
        yield Reading("swap", {}, fields)
