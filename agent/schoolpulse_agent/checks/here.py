"""What can be tried on this machine alone: settings, enrolment, folder, clock, inventory, each probe."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from schoolpulse_agent import centre, configuration, inventory, language, probe, tls
from schoolpulse_agent.checks import Found, Look, Step
from schoolpulse_agent.language import Told
from schoolpulse_agent.settings import Settings, SettingsError

PATIENCE = 2.0  # seconds for a probe that names none of its own
SPARE = 16 * 2**20  # bytes that a disk should have free beside what reports may take


def of_settings(look: Look) -> Found:
    """Which file, what it says. A wrong one does not come here: it ends the command with exit code 2."""
    path = look.settings.path
    if path is None:
        raise SettingsError(
            "there is no settings file: schoolpulse-agent enroll writes it, --config names another",
            "không có tệp cài đặt: lệnh schoolpulse-agent enroll sẽ ghi, hoặc chọn tệp bằng --config",
        )
    every = f"{look.settings.reports.interval:g}"
    return f"{path}; a report every {every} s", f"{path}; mỗi {every} giây một báo cáo"


def enrolment(look: Look) -> Found:
    """Identity, secret and the files of certificates are there."""
    look.settings.require_enrolment()
    try:
        tls.context(look.settings.ca_file(), int(time.time() * 1000), look.settings.certificate())
    except ssl.SSLError as why:
        said = why.reason or str(why)
        raise SettingsError(
            f"the CA's file or that of this device's certificate is damaged ({said}): enrol again with --force",
            f"tệp chứng thư của trung tâm hoặc của máy này bị hỏng ({said}): đăng ký lại với --force",
        ) from None
    device = look.settings.device
    return f"{device.id} of {device.school}", f"{device.id} của {device.school}"


def folder(look: Look) -> Found:
    """Reports can be kept: the folder takes a file and its disk has room."""
    place, keep = Path(look.settings.reports.folder), int(look.settings.reports.keep_mb * 2**20)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(bytes(4096))
    except OSError as why:
        told = language.reason(why)
        raise Told(
            f"{place}: {told}; or set reports.folder to one this user may write",
            f"{place}: {told.vi}; hoặc đặt reports.folder là thư mục ghi được",
        ) from None
    free = shutil.disk_usage(place).free
    if free < keep + SPARE:
        raise Told(
            f"{place}: only {free >> 20} MB free: free some space, reports need {(keep + SPARE) >> 20} MB",
            f"{place}: chỉ còn trống {free >> 20} MB: giải phóng bớt, báo cáo cần {(keep + SPARE) >> 20} MB",
        )
    return f"{place} can be written, {free >> 20} MB free", f"ghi được {place}, còn trống {free >> 20} MB"


def clock(_look: Look) -> Found:
    """The machine's own clock is not from before this program was made."""
    now = time.time()
    said = datetime.fromtimestamp(now).strftime("%d/%m/%Y %H:%M")
    if now < tls.MADE:
        raise Told(
            f"it says {said}: set date and time; if that is lost at each start, replace the board's battery"
            " (CR2032). Meanwhile the agent takes the centre's time",
            f"đang là {said}: chỉnh lại ngày giờ; nếu mỗi lần bật máy lại sai, hãy thay pin CMOS (CR2032)."
            " Trong lúc đó phần mềm dùng giờ của trung tâm",
        )
    return said, said


def stocktaking(look: Look) -> Found:
    """What the machine is made of can be read."""
    look.inventory = inventory.read()
    count = len(look.inventory.parts)
    return f"{count} parts can be read", f"đọc được {count} linh kiện"


STEPS = (
    Step("settings", "cài đặt", of_settings),
    Step("enrolment", "đăng ký", enrolment),
    Step("folder", "thư mục báo cáo", folder),
    Step("clock", "đồng hồ máy", clock),
    Step("inventory", "kiểm kê", stocktaking),
)


def of_probes(settings: Settings) -> Iterator[Step]:
    """A step for each probe that is on here, with the centre's configuration in force."""
    for name, each in configuration.in_force(settings).probes.items():
        yield Step(f"probe {name}", f"bộ đo {name}", _reader(name, each))


def _reader(name: str, each: Any) -> Callable[[Look], Found]:
    def read(_look: Look) -> Found:
        if getattr(each, "elected", False):
            return (
                "read by one machine of the room, when the centre names it",
                "do một máy trong phòng đọc khi được giao",
            )
        readings = _readings(each)
        if not readings:  # those that measure a step have nothing at first
            time.sleep(0.2)
            readings = _readings(each)
        odd = [reading.measurement for reading in readings if not probe.listed(name, reading)]
        if odd:
            raise LookupError(f"{odd[0]}: not all of it stands in the probe's tables")
        count = sum(len(reading.fields) for reading in readings)
        if not count:
            return "works; this machine has nothing of the kind", "hoạt động; máy này không có loại thiết bị đó"
        return f"{count} values", f"{count} giá trị"

    return read


def _readings(each: Any) -> list[probe.Reading]:
    patience = max(PATIENCE, float(getattr(each, "patience", 0.0)))
    try:
        return centre.within(patience, lambda: list(each.read()))
    except TimeoutError:
        raise Told(
            f"it hangs (no answer in {patience:g} s), reports go on without it: look for a disk or device that hangs,"
            " or switch it off with enabled = false",
            f"bị treo ({patience:g} giây không trả lời), báo cáo vẫn gửi không có nó: tìm ổ đĩa hay thiết bị bị treo,"
            " hoặc tắt nó bằng enabled = false",
        ) from None
