"""How full the local disks are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from schoolpulse_agent import proc
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
    ("disk", "read_only"): Metric(
        "1",
        "Disk can only be read (1): after an error, or mounted so",
        "Ổ đĩa chỉ đọc được (1): do lỗi hoặc do cách gắn",
        "0",
    ),
}
TAGS = {
    ("disk", "path"): Tag("Where the disk is mounted", "Nơi gắn ổ đĩa", "/"),
    ("disk", "fstype"): Tag("Kind of file system", "Loại hệ thống tệp", "ext4"),
}
WHY = Why(
    "Warns before a disk is full, and of one that takes no more writes.",
    "Cảnh báo trước khi ổ đĩa đầy, và khi ổ đĩa không ghi được nữa.",
)
# Local types only: asking a network or FUSE mount whose server is gone blocks for ever.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs", "ntfs3", "f2fs", "zfs", "apfs", "hfs")
# Places where systems mount what people plug in, under a person's name, and homes, wherever a server has them
# (ZFS has a file system for each: /tank/home/an): nobody's name may leave the machine.
PERSONAL = re.compile(r"(/run)?/media/|/Volumes/|.*/(home|Users)/.", re.DOTALL | re.IGNORECASE).match
_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """A file system and where it is mounted."""

    device: str
    path: str
    fstype: str  # lower case
    read_only: bool


def parse_mounts(text: bytes) -> Iterator[Mount]:
    """What Linux's /proc/PID/mounts lists; a space in a name is octal there (fstab(5))."""
    for line in text.splitlines():
        words = line.split(b" ")
        if len(words) >= 4:
            device, path, fstype = (_plain(word) for word in words[:3])
            yield Mount(device, path, fstype.lower(), b"ro" in words[3].split(b","))


def _plain(word: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), word))


def _mounts() -> Iterator[Mount]:
    if proc.LINUX:
        try:  # as the first process sees it: in a service's sandbox all but a few mounts are read-only
            text = proc.read("/proc/1/mounts")
        except OSError:  # others' processes are hidden
            text = proc.read("/proc/self/mounts")
        yield from parse_mounts(text)
        return
    import psutil

    for part in psutil.disk_partitions(all=False):
        yield Mount(part.device, part.mountpoint, part.fstype.lower(), "ro" in part.opts.split(","))


def chosen(mounts: Iterable[Mount], types: tuple[str, ...]) -> list[Mount]:
    """Every file system of these types once, where it is mounted first, but for those under a person's name."""
    found: dict[str, Mount] = {}
    for mount in mounts:
        if mount.fstype in types and not PERSONAL(mount.path):
            found.setdefault(mount.device, mount)  # a bind mount shows the same disk again
    return list(found.values())


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

    patience: ClassVar[float] = 10.0  # a disk that is dying may not answer
    local: ClassVar[tuple[str, ...]] = ("types",)  # nobody from outside makes it ask a network's mounts
    every: float = 300.0
    types: tuple[str, ...] = LOCAL

    def read(self) -> Iterator[Reading]:
        """Yield one reading a disk, with tags ``path`` and ``fstype``."""
        found = chosen(_mounts(), self.types)
        for mount in found:
            try:
                yield usage(mount)
            except (FileNotFoundError, PermissionError):  # unmounted since, or not ours to see
                continue
        if not found and self.types == LOCAL and os.name == "posix":  # a container, where no disk is listed
            yield usage(Mount("", "/", "rootfs", read_only=False))


def usage(mount: Mount) -> Reading:
    """How full a file system is. Raises OSError."""
    fields = {"read_only": float(mount.read_only)}
    if hasattr(os, "statvfs"):
        table = os.statvfs(mount.path)
        size, used = table.f_blocks * table.f_frsize, (table.f_blocks - table.f_bfree) * table.f_frsize
        free = table.f_bavail * table.f_frsize  # to users who are not root
        fields.update(inodes(table.f_files, table.f_ffree))
    else:
        import psutil

        use = psutil.disk_usage(mount.path)
        size, used, free = use.total, use.used, use.free
    usable = used + free
    fields.update(total=float(size), free=float(free), used=float(used))
    fields["used_percent"] = round(100 * used / usable, 2) if usable else 0.0
    return Reading("disk", {"path": mount.path, "fstype": mount.fstype}, fields)
