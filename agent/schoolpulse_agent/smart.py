"""The root helper: asks every disk how it is (SMART) and leaves the answers in a file that the agent reads.

``python3 -I -S smart.py --out FILE``, every few hours. It takes no other input, and the file holds nothing but the
numbers that ``probes/smart.py`` sends, the disks' names and serial numbers. Needs smartctl 7.0 or newer, which answers
in JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schoolpulse_agent import programs

OUT = "/run/schoolpulse-smart/smart.json"
SMARTCTL = "/usr/sbin/smartctl"
SYS_BLOCK = "/sys/block"
SCAN_SECONDS = 60.0
DISK_SECONDS = 30.0  # a healthy disk answers within one; a dying one may take a minute for each question
ALL_SECONDS = 240.0  # below the unit's TimeoutStartSec
MAX_DISKS = 32
LOW_POWER = 2  # bit 1 of smartctl's exit status: the disk could not be opened, or it sleeps (smartctl(8))
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_/-]{1,40}")
_TYPE = re.compile(r"[a-z0-9][a-z0-9_+,/]{0,30}")
_NUMBER = re.compile(r"\d{1,15}")
# Telegraf's name of an ATA attribute, by its number. 1, 7 and 188 are left out: what they count is packed differently
# by each maker, and looks alarming on healthy disks.
_RAW = {
    5: "reallocated_sectors_count",
    10: "spin_retry_count",
    184: "end_to_end_error",
    187: "uncorrectable_errors",
    196: "realloc_event_count",
    197: "pending_sector_count",
    198: "uncorrectable_sector_count",
    199: "udma_crc_errors",
}
# As Telegraf: by name, because their numbers mean other things elsewhere, and not the raw value but that of 100 to 0.
_NORMAL = {
    "Percent_Lifetime_Remain": "percent_lifetime_remain",
    "Wear_Leveling_Count": "wear_leveling_count",
    "Media_Wearout_Indicator": "media_wearout_indicator",
}
_NVME = {
    "available_spare": "available_spare",
    "available_spare_threshold": "available_spare_threshold",
    "critical_warning": "critical_warning",
    "media_errors": "media_errors",
    "num_err_log_entries": "error_log_entries",
    "percentage_used": "percentage_used",
    "power_cycles": "power_cycle_count",
    "power_on_hours": "power_on_hours",
    "unsafe_shutdowns": "unsafe_shutdowns",
}


def devices(answer: bytes) -> list[tuple[str, str]]:
    """Path and type of every disk that ``smartctl --scan-open -j`` could open. Raises ValueError."""
    found = []
    for each in _list(_tree(answer).get("devices")):
        name, kind = _at(each, "name"), _at(each, "type")
        good = isinstance(name, str) and isinstance(kind, str) and _DEVICE.fullmatch(name) and _TYPE.fullmatch(kind)
        if good and "open_error" not in each:
            found.append((str(name), str(kind)))
    return found[:MAX_DISKS]


def parse(answer: bytes) -> tuple[str, dict[str, float]]:
    """Serial number and fields in what ``smartctl -j -a`` says of a disk. Raises ValueError.

    No fields if the disk sleeps or has no SMART: as a virtual one, a card reader, a bridge that lets nothing through.
    """
    tree = _tree(answer)
    status = _number(_at(tree, "smartctl", "exit_status"))
    if status is None or int(status) & LOW_POWER:
        return "", {}
    fields = {name: value for name, value in _all(tree) if value is not None}
    if not fields:
        return "", {}
    serial = _at(tree, "serial_number")
    return serial.strip()[:64] if isinstance(serial, str) else "", {**fields, "exit_status": status}


def _all(tree: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    passed = _at(tree, "smart_status", "passed")
    yield "health_ok", float(passed) if isinstance(passed, bool) else None
    degrees = _number(_at(tree, "temperature", "current"))
    yield "temp_c", degrees if degrees and -40 < degrees < 150 else None  # 0: it has no sensor
    yield "power_on_hours", _number(_at(tree, "power_on_time", "hours"))
    yield "power_cycle_count", _number(_at(tree, "power_cycle_count"))
    yield "percentage_used", _number(_at(tree, "endurance_used", "current_percent"))
    for row in _list(_at(tree, "ata_smart_attributes", "table")):
        yield from _attribute(row)
    for theirs, name in _NVME.items():
        value = _number(_at(tree, "nvme_smart_health_information_log", theirs))
        if value is not None:
            yield name, value
    yield from _scsi(tree)


def _attribute(row: Any) -> Iterator[tuple[str, float | None]]:
    """A line of the table of ATA attributes, if it is one that we send."""
    number, name = _at(row, "id"), _at(row, "name")
    if isinstance(number, int) and number in _RAW:
        # What stands first in the text is the count; the number of 48 bits may hold others beside it.
        text = _NUMBER.match(str(_at(row, "raw", "string") or ""))
        yield _RAW[number], float(text[0]) if text else _number(_at(row, "raw", "value"))
    if isinstance(name, str) and name in _NORMAL:
        yield _NORMAL[name], _number(_at(row, "value"))


def _scsi(tree: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """SCSI and SAS disks count the same under other names."""
    defects = _number(_at(tree, "scsi_grown_defect_list"))
    if defects is not None:
        yield "reallocated_sectors_count", defects
    worn = _number(_at(tree, "scsi_percentage_used_endurance_indicator"))
    if worn is not None:
        yield "percentage_used", worn
    counters = (_at(tree, "scsi_error_counter_log", each, "total_uncorrected_errors") for each in ("read", "write"))
    errors = [value for value in map(_number, counters) if value is not None]
    if errors:
        yield "uncorrectable_errors", sum(errors)


def _tree(answer: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(answer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(tree, dict):
        raise ValueError("no object")
    return tree


def _at(tree: Any, *names: str) -> Any:
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """A number that a disk may say, none of the rest that JSON may hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1000 <= value < 1e15:
        return None
    return float(value)


def is_plugged_in(name: str) -> bool:
    """Whether a disk hangs on USB: it may be a person's own, whose serial number is nobody's business."""
    return "/usb" in os.path.realpath(f"{SYS_BLOCK}/{name}")


def ask_all() -> Iterator[dict[str, Any]]:
    """Device, serial number and fields of each disk that answers; of others a line to standard error.

    Raises OSError, ProgramError or ValueError if smartctl itself does not work.
    """
    end = time.monotonic() + ALL_SECONDS
    # Its exit codes are bits that say how the disk is (smartctl(8)); whether it answered shows in the JSON.
    found = devices(programs.run([SMARTCTL, "--scan-open", "-j"], SCAN_SECONDS, codes=range(256)))
    paths = [path for path, _ in found]
    for path, kind in found:
        name = path[len("/dev/") :]
        device = name if paths.count(path) == 1 else f"{name} {kind}"  # the disks behind one RAID controller
        left = min(DISK_SECONDS, end - time.monotonic())
        if left <= 0:
            _tell(f"no time left for {device}")
            continue
        # -n standby: a disk that sleeps is not woken.
        command = [SMARTCTL, "-j", "-n", "standby", "-a", "-d", kind, path]
        try:
            serial, fields = parse(programs.run(command, left, codes=range(256)))
        except (OSError, programs.ProgramError, ValueError) as why:
            _tell(f"{device}: {why}")
            continue
        if fields:
            yield {"device": device, "serial": "" if is_plugged_in(name) else serial, "fields": fields}


def write(path: str, disks: list[dict[str, Any]]) -> None:
    """Put the file in place as a whole, for everyone to read. Raises OSError."""
    new = path + ".new"
    Path(new).unlink(missing_ok=True)  # what a run that was killed has left
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="ascii") as file:
        json.dump({"read": int(time.time()), "disks": disks}, file)
        os.fchmod(opened, 0o644)
    Path(new).replace(path)


def _tell(words: str) -> None:
    print(f"smart: {words}", file=sys.stderr)  # noqa: T201 - its log is the journal


def main(arguments: list[str] | None = None) -> int:
    """Ask all disks once. 0, or 1 if smartctl does not work or the file can't be written, in one line."""
    import argparse

    parser = argparse.ArgumentParser(prog="smart", description="Asks the disks how they are, for the agent to read.")
    parser.add_argument("--out", default=OUT, metavar="FILE", help="where to leave the answers (%(default)s)")
    out = parser.parse_args(arguments).out
    try:
        write(out, list(ask_all()))
    except FileNotFoundError as why:
        _tell(f"{why.filename} is not there" + (": install smartmontools" if why.filename == SMARTCTL else ""))
        return 1
    except (OSError, programs.ProgramError, ValueError) as why:
        _tell(str(why))
        return 1
    return 0
