"""How full the local disks are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("disk", "total"): Metric("B", "Disk size", "Dung lượng ổ đĩa", "256060514304"),
    ("disk", "free"): Metric("B", "Disk free", "Dung lượng ổ đĩa còn trống", "171560544993"),
    ("disk", "used"): Metric("B", "Disk used", "Dung lượng ổ đĩa đã dùng", "84499969311"),
    ("disk", "used_percent"): Metric("%", "Disk used", "Ổ đĩa đã dùng", "33.0"),
    ("disk", "inodes_total"): Metric("1", "Files the disk can hold", "Số tệp ổ đĩa chứa được", "15630336"),
    ("disk", "inodes_free"): Metric("1", "Files the disk can still hold", "Số tệp ổ đĩa còn chứa được", "15200112"),
    ("disk", "inodes_used"): Metric("1", "Files on the disk", "Số tệp trên ổ đĩa", "430224"),
    ("disk", "inodes_used_percent"): Metric("%", "File table used", "Bảng tệp đã dùng", "2.75"),
}
TAGS = {
    ("disk", "path"): Tag("Where the disk is mounted", "Nơi gắn ổ đĩa", "/"),
    ("disk", "fstype"): Tag("Kind of file system", "Loại hệ thống tệp", "ext4"),
}
WHY = Why("Warns before a disk is full.", "Cảnh báo trước khi ổ đĩa đầy.")
# Local types only: asking a network or FUSE mount whose server is gone blocks for ever.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs", "ntfs3", "f2fs", "zfs", "apfs", "hfs")
# Places where systems mount what people plug in, under a person's name: nobody's name may leave the machine.
PERSONAL = ("/media/", "/run/media/", "/home/", "/Users/", "/Volumes/")


def inodes(total: int, free: int) -> dict[str, float]:
    """The inode fields, none where the file system has no fixed table (btrfs, NTFS)."""
    if not total:
        return {}
    used = total - free
    return {
        "inodes_total": float(total),
        "inodes_free": float(free),
        "inodes_used": float(used),
        "inodes_used_percent": round(100 * used / total, 2),
    }


@dataclass
class Probe:
    """Every local disk, once, but for those under a person's name; ``types``: file systems that count as local."""

    every: float = 0.0
    types: tuple[str, ...] = LOCAL

    def read(self) -> Iterator[Reading]:
        """Yield one reading a disk, with tags ``path`` and ``fstype``."""
        seen = set()
        for part in psutil.disk_partitions(all=False):
            if part.fstype.lower() not in self.types or part.mountpoint.startswith(PERSONAL):
                continue
            if part.device in seen:
                continue  # a bind mount shows the same disk again
            seen.add(part.device)
            try:
                yield usage(part.mountpoint, part.fstype.lower())
            except (FileNotFoundError, PermissionError):  # unmounted since, or not ours to see
                continue
        if not seen and self.types == LOCAL and os.name == "posix":  # a container, where no disk is listed
            yield usage("/", "rootfs")


def usage(path: str, fstype: str) -> Reading:
    """How full the disk mounted at a path is. Raises OSError."""
    use = psutil.disk_usage(path)
    fields = {
        "total": float(use.total),
        "free": float(use.free),
        "used": float(use.used),
        "used_percent": float(use.percent),
    }
    if hasattr(os, "statvfs"):
        table = os.statvfs(path)
        fields.update(inodes(table.f_files, table.f_ffree))
    return Reading("disk", {"path": path, "fstype": fstype}, fields)
