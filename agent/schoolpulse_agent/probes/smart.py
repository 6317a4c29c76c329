"""How worn the disks are, by what they say of themselves (SMART).

Asking a disk takes root: ``smart.py`` does that every few hours and leaves the answers in a file; this only reads it.
Not yet on Windows and macOS, where nothing leaves such a file.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("smart_device", "health_ok"): Metric(
        "1", "Disk says it is healthy (1) or failing (0)", "Ổ đĩa tự báo tốt (1) hay sắp hỏng (0)", "1"
    ),
    ("smart_device", "exit_status"): Metric(
        "1", "Bits of smartctl's exit status", "Các bit mã thoát của smartctl", "0"
    ),
    ("smart_device", "temp_c"): Metric("°C", "Temperature of the disk", "Nhiệt độ ổ đĩa", "34"),
    ("smart_device", "power_on_hours"): Metric("h", "Hours the disk has run", "Số giờ ổ đĩa đã chạy", "8760"),
    ("smart_device", "power_cycle_count"): Metric(
        "1 total", "Times the disk was switched on", "Số lần bật ổ đĩa", "1203"
    ),
    ("smart_device", "reallocated_sectors_count"): Metric(
        "1 total", "Bad sectors replaced by spare ones", "Số cung từ hỏng đã thay bằng cung dự phòng", "0"
    ),
    ("smart_device", "realloc_event_count"): Metric(
        "1 total", "Attempts to replace a bad sector", "Số lần thử thay cung từ hỏng", "0"
    ),
    ("smart_device", "pending_sector_count"): Metric(
        "1", "Sectors that may be bad, not replaced yet", "Số cung từ nghi hỏng đang chờ thay", "0"
    ),
    ("smart_device", "uncorrectable_sector_count"): Metric(
        "1 total", "Sectors that could not be read", "Số cung từ không đọc được", "0"
    ),
    ("smart_device", "uncorrectable_errors"): Metric(
        "1 total", "Errors that could not be corrected", "Số lỗi không sửa được", "0"
    ),
    ("smart_device", "udma_crc_errors"): Metric(
        "1 total", "Errors between disk and board: the cable", "Số lỗi truyền giữa ổ đĩa và bo mạch (do cáp)", "0"
    ),
    ("smart_device", "spin_retry_count"): Metric(
        "1 total", "Times the motor did not start at once", "Số lần mô-tơ ổ đĩa phải khởi động lại", "0"
    ),
    ("smart_device", "end_to_end_error"): Metric(
        "1 total", "Data damaged inside the disk", "Số lần dữ liệu hỏng bên trong ổ đĩa", "0"
    ),
    ("smart_device", "wear_leveling_count"): Metric(
        "1", "Life left of the flash: 100 is new", "Tuổi thọ còn lại của chip nhớ SSD (100 là mới)", "97"
    ),
    ("smart_device", "media_wearout_indicator"): Metric(
        "1", "Life left of the flash, Intel: 100 is new", "Tuổi thọ còn lại của SSD Intel (100 là mới)", "98"
    ),
    ("smart_device", "percent_lifetime_remain"): Metric("%", "Life left of the SSD", "Tuổi thọ còn lại của SSD", "91"),
    ("smart_device", "percentage_used"): Metric(
        "%", "Life used of the SSD, may pass 100", "Tuổi thọ SSD đã dùng, có thể vượt 100", "4"
    ),
    ("smart_device", "available_spare"): Metric("%", "Spare blocks left", "Khối dự phòng còn lại", "100"),
    ("smart_device", "available_spare_threshold"): Metric(
        "%", "Spare blocks below which the SSD fails", "Mức khối dự phòng tối thiểu của SSD", "10"
    ),
    ("smart_device", "critical_warning"): Metric(
        "1", "Bits of the SSD's own warning", "Các bit cảnh báo của chính SSD", "0"
    ),
    ("smart_device", "media_errors"): Metric(
        "1 total", "Data that the SSD could not read back", "Số lần SSD không đọc lại được dữ liệu", "0"
    ),
    ("smart_device", "error_log_entries"): Metric(
        "1 total", "Entries in the SSD's log of errors", "Số mục trong nhật ký lỗi của SSD", "12"
    ),
    ("smart_device", "unsafe_shutdowns"): Metric(
        "1 total", "Times the power went without a shutdown", "Số lần mất điện khi chưa tắt máy đúng cách", "31"
    ),
}
TAGS = {
    ("smart_device", "name"): Tag("Name of the disk", "Tên ổ đĩa", "sda"),
    ("smart_device", "serial_no"): Tag(
        "Serial number of a built-in disk, to notice a swap",
        "Số sê-ri của ổ đĩa gắn trong, để biết khi ổ bị tráo",
        "WX000000",
    ),
}
WHY = Why(
    "Warns of a disk that is about to fail, and shows that one was swapped.",
    "Cảnh báo ổ đĩa sắp hỏng và cho biết khi ổ đĩa bị tráo.",
)
FILE = "/run/schoolpulse-smart/smart.json"
OLDEST = 2 * 86_400.0  # seconds: after that it no longer says how a disk is
MAX_BYTES = 65_536
MAX_DISKS = 32


def parse(content: bytes) -> list[Reading]:
    """What the helper's file says. Raises ValueError if it is none of the helper's; skips what we do not send."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("the file of the SMART helper is damaged") from None
    disks = tree.get("disks") if isinstance(tree, dict) else None
    if not isinstance(disks, list):
        raise ValueError("the file of the SMART helper holds no disks")
    found = (_reading(disk) for disk in disks[:MAX_DISKS] if isinstance(disk, dict))
    return [reading for reading in found if reading]


def _reading(disk: dict[str, Any]) -> Reading | None:
    device, serial, fields = disk.get("device"), disk.get("serial"), disk.get("fields")
    if not isinstance(device, str) or not device or not isinstance(fields, dict):
        return None
    tags = {"name": device[:64]}  # as in diskio; Telegraf's "device" is here the machine
    if isinstance(serial, str) and serial:
        tags["serial_no"] = serial[:64]
    values = {
        name: float(value)
        for name, value in fields.items()
        if ("smart_device", name) in METRICS and isinstance(value, float) and isfinite(value)
    }
    return Reading("smart_device", tags, values) if values else None


@dataclass
class Probe:
    """Every disk that the helper could ask, each answer once. Linux only; on Windows and macOS not yet."""

    every: float = 600.0
    _seen: tuple[int, int] = field(default=(0, 0), init=False, repr=False, compare=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a disk when the file is new. Raises ValueError for a file that is none of the helper's."""
        if not proc.LINUX:
            return
        try:
            about = Path(FILE).stat()
        except OSError:  # no helper, or no smartctl for it
            return
        this = (about.st_mtime_ns, about.st_ino)
        if this == self._seen or not stat.S_ISREG(about.st_mode) or time.time() - about.st_mtime > OLDEST:
            return
        readings = parse(proc.once(FILE, MAX_BYTES))
        self._seen = this
        yield from readings
