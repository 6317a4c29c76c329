"""How much the disks read and write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("diskio", "reads"): Metric("1 total", "Disk reads since boot", "Số lần đọc đĩa từ khi bật máy", "184312"),
    ("diskio", "writes"): Metric("1 total", "Disk writes since boot", "Số lần ghi đĩa từ khi bật máy", "96120"),
    ("diskio", "read_bytes"): Metric(
        "B total", "Read from disk since boot", "Đã đọc từ đĩa từ khi bật máy", "7549747200"
    ),
    ("diskio", "write_bytes"): Metric(
        "B total", "Written to disk since boot", "Đã ghi ra đĩa từ khi bật máy", "3932160000"
    ),
    ("diskio", "read_time"): Metric(
        "ms total", "Time spent reading since boot", "Thời gian đọc đĩa từ khi bật máy", "61204"
    ),
    ("diskio", "write_time"): Metric(
        "ms total", "Time spent writing since boot", "Thời gian ghi đĩa từ khi bật máy", "48211"
    ),
    ("diskio", "io_time"): Metric(
        "ms total", "Time the disk was busy since boot", "Thời gian đĩa bận từ khi bật máy", "70312"
    ),
}
TAGS = {("diskio", "name"): Tag("Name of the disk", "Tên ổ đĩa", "sda")}
WHY = Why("Shows disks that slow a machine down.", "Cho biết ổ đĩa làm chậm máy.")
_FIELDS = {
    "read_count": "reads",
    "write_count": "writes",
    "read_bytes": "read_bytes",
    "write_bytes": "write_bytes",
    "read_time": "read_time",
    "write_time": "write_time",
    "busy_time": "io_time",  # Linux only
}


@dataclass
class Probe:
    """Every whole disk that has ever been used; ``skip``: beginnings of names that are no real disks."""

    every: float = 0.0
    skip: tuple[str, ...] = ("loop", "ram", "zram", "sr", "fd", "nbd")

    def read(self) -> Iterator[Reading]:
        """Yield one reading a disk, with tag ``name``."""
        disks = psutil.disk_io_counters(perdisk=True) or {}
        for name, io in disks.items():
            if name.startswith(self.skip) or not (io.read_count or io.write_count) or _is_partition(name, disks):
                continue
            counts = io._asdict()
            yield Reading(
                "diskio", {"name": name}, {ours: float(counts[k]) for k, ours in _FIELDS.items() if k in counts}
            )


def _is_partition(name: str, disks: Mapping[str, object]) -> bool:
    """``sda1`` of ``sda``, ``nvme0n1p2`` of ``nvme0n1``: its disk counts it already."""
    whole = name.rstrip("0123456789")
    return whole != name and (whole in disks or (whole.endswith("p") and whole[:-1] in disks))
