"""How much the disks read and write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schoolpulse_agent import proc
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
_THEIRS = ("read_count", "write_count", "read_bytes", "write_bytes", "read_time", "write_time", "busy_time")  # psutil's
_OURS = ("reads", "writes", "read_bytes", "write_bytes", "read_time", "write_time", "io_time")
SECTOR = 512  # bytes, whatever the disk's own sectors are
Disks = dict[str, dict[str, float]]


def parse_diskstats(text: bytes) -> Disks:
    """Counters by name of disk or partition, of Linux's /proc/diskstats (Documentation/admin-guide/iostats.rst)."""
    found: Disks = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 13 or not b"".join(words[3:13]).isdigit():
            continue
        reads, _, read_sectors, read_ms, writes, _, write_sectors, write_ms, _, busy_ms = map(float, words[3:13])
        values = (reads, writes, read_sectors * SECTOR, write_sectors * SECTOR, read_ms, write_ms, busy_ms)
        found[words[2].decode("ascii", "replace")] = dict(zip(_OURS, values))
    return found


def _disks() -> Disks:
    if proc.LINUX:
        return parse_diskstats(proc.read("/proc/diskstats"))
    import psutil

    found: Disks = {}
    for name, io in (psutil.disk_io_counters(perdisk=True) or {}).items():
        found[name] = {ours: float(getattr(io, theirs)) for theirs, ours in zip(_THEIRS, _OURS) if hasattr(io, theirs)}
    return found


@dataclass
class Probe:
    """Every whole disk that has ever been used; ``skip``: beginnings of names that are no real disks."""

    every: float = 0.0
    skip: tuple[str, ...] = ("loop", "ram", "zram", "sr", "fd", "nbd")

    def read(self) -> Iterator[Reading]:
        """Yield one reading a disk, with tag ``name``."""
        disks = _disks()
        for name, fields in disks.items():
            if name.startswith(self.skip) or not (fields["reads"] or fields["writes"]) or _is_partition(name, disks):
                continue
            yield Reading("diskio", {"name": name}, fields)


def _is_partition(name: str, disks: Mapping[str, object]) -> bool:
    """``sda1`` of ``sda``, ``nvme0n1p2`` of ``nvme0n1``: its disk counts it already."""
    whole = name.rstrip("0123456789")
    return whole != name and (whole in disks or (whole.endswith("p") and whole[:-1] in disks))
