"""Which services of the system have failed. Names of services only: no instance, mount or unit of a person."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from schoolpulse_agent.probe import Metric, Reading, Tag, Why
from schoolpulse_agent.programs import run

METRICS = {
    ("services", "failed"): Metric(
        "1",
        "Services that have failed or should run and do not",
        "Số dịch vụ bị lỗi hoặc lẽ ra phải chạy mà không chạy",
        "0",
    ),
    ("systemd_units", "load_code"): Metric(
        "1", "Service file: 0 loaded, 2 not found", "Tệp dịch vụ: 0 đã nạp, 2 không tìm thấy", "0"
    ),
    ("systemd_units", "active_code"): Metric(
        "1", "Service: 0 active, 2 inactive, 3 failed", "Dịch vụ: 0 đang chạy, 2 không chạy, 3 bị lỗi", "3"
    ),
    ("systemd_units", "sub_code"): Metric(
        "1", "Service in detail: 0 running, 1 dead, 12 failed", "Chi tiết dịch vụ: 0 chạy, 1 dừng, 12 bị lỗi", "12"
    ),
    ("win_services", "state"): Metric(
        "1", "Windows service: 1 stopped, 4 running, 7 paused", "Dịch vụ Windows: 1 dừng, 4 chạy, 7 tạm dừng", "1"
    ),
    ("win_services", "startup_mode"): Metric(
        "1", "Windows service: 2 starts by itself", "Dịch vụ Windows: 2 tự khởi động", "2"
    ),
}
TAGS = {
    ("systemd_units", "name"): Tag(
        "Name of the service, without what stands after @", "Tên dịch vụ, bỏ phần sau dấu @", "cups.service"
    ),
    ("win_services", "service_name"): Tag("Name of the Windows service", "Tên dịch vụ Windows", "Spooler"),
}
WHY = Why(
    "Shows that something a machine should do (printing, sharing, protection) has stopped.",
    "Cho biết việc máy phải làm (in, chia sẻ, bảo vệ) đã ngừng.",
)
RUNS = Path("/run/systemd/system")  # there only while systemd runs, sd_booted(3)
COMMAND = ("systemctl", "list-units", "--failed", "--type=service", "--plain", "--no-legend", "--no-pager", "--full")
MOST = 20  # services by name; the count is of all
# Telegraf's numbers, from its plugin systemd_units.
LOAD = {"loaded": 0, "stub": 1, "not-found": 2, "bad-setting": 3, "error": 4, "merged": 5, "masked": 6}
ACTIVE = {"active": 0, "reloading": 1, "inactive": 2, "failed": 3, "activating": 4, "deactivating": 5}
SUB = {
    "running": 0, "dead": 1, "start-pre": 2, "start": 3, "exited": 4, "reload": 5, "stop": 6, "stop-watchdog": 7,
    "stop-sigterm": 8, "stop-sigkill": 9, "stop-post": 10, "final-sigterm": 11, "failed": 12, "auto-restart": 13,
    "condition": 14, "cleaning": 15, "reload-signal": 17, "reload-notify": 18, "final-watchdog": 19,
    "dead-before-auto-restart": 20, "failed-before-auto-restart": 21, "dead-resources-pinned": 22,
    "auto-restart-queued": 23, "start-post": 0x71, "final-sigkill": 0x76,
}  # fmt: skip
PEOPLES = ("user@.service", "user-runtime-dir@.service")  # what systemd starts for each person who signs in
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]{1,100}(@?)([^\s/]*)\.service", re.ASCII).fullmatch
# Telegraf's, which are those of Windows' service manager (winsvc.h).
STATES = {
    "stopped": 1.0,
    "start_pending": 2.0,
    "stop_pending": 3.0,
    "running": 4.0,
    "continue_pending": 5.0,
    "pause_pending": 6.0,
    "paused": 7.0,
}
AUTOMATIC = 2.0
# Windows starts these by itself, and they end when their work is done.
COME_AND_GO = (
    "BITS", "CDPSvc", "GoogleUpdate", "MapsBroker", "MicrosoftEdge", "RemoteRegistry", "TrustedInstaller", "WbioSrvc",
    "clr_optimization", "edgeupdate", "gpsvc", "gupdate", "sppsvc", "tiledatamodelsvc", "wuauserv",
)  # fmt: skip


def parse_failed(listing: str) -> list[dict[str, str]]:
    """``systemctl list-units --plain --no-legend``: name, load, active and sub of each service, never its description.

    Instances of one template are one service: what stands after @ may be anybody's name.
    """
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        words = line.lstrip("●*×○ \t").split(maxsplit=4)[:4]
        if len(words) < 4 or not _UNIT(words[0]):
            continue
        template, at, _ = words[0].partition("@")
        name = f"{template}@.service" if at else words[0]
        if name not in PEOPLES:
            found[name] = {"name": name, "load": words[1], "active": words[2], "sub": words[3]}
    return list(found.values())


def of_systemd(units: list[dict[str, str]]) -> Iterator[Reading]:
    """The count of all and the codes of the first; a word that Telegraf has no number for is left out."""
    yield Reading("services", {}, {"failed": float(len(units))})
    for unit in units[:MOST]:
        codes = (("load_code", LOAD, "load"), ("active_code", ACTIVE, "active"), ("sub_code", SUB, "sub"))
        fields = {field: float(table[unit[what]]) for field, table, what in codes if unit[what] in table}
        if fields:
            yield Reading("systemd_units", {"name": unit["name"]}, fields)


def of_windows(services: Iterable[tuple[str, str, str]], skip: tuple[str, ...]) -> Iterator[Reading]:
    """Of (name, status, start type) those that should have started by themselves and do not run.

    A service for one person (``CDPUserSvc_3f2a1``) is left out: it has that person's session number in its name.
    """
    down = []
    for name, status, start in services:
        mine = not re.search(r"_[0-9a-f]{4,8}$", name) and not name.startswith(skip)
        if start == "automatic" and status in STATES and status != "running" and mine:
            down.append((name, STATES[status]))
    yield Reading("services", {}, {"failed": float(len(down))})
    for name, state in sorted(down)[:MOST]:
        yield Reading("win_services", {"service_name": name}, {"state": state, "startup_mode": AUTOMATIC})


def ask_windows() -> Iterator[tuple[str, str, str]]:
    """Name, status and start type of each service. Not yet run on a real Windows."""
    import psutil

    for service in psutil.win_service_iter():  # type: ignore[attr-defined,unused-ignore]
        try:
            yield service.name(), service.status(), service.start_type()
        except (psutil.Error, OSError):  # removed since, or not ours to ask
            continue


@dataclass
class Probe:
    """Failed services of systemd, or Windows' automatic services that do not run.

    ``skip``: beginnings of names of Windows services that may be down.
    """

    every: float = 300.0
    skip: tuple[str, ...] = COME_AND_GO

    patience: ClassVar[float] = 30.0  # systemctl waits for the system's bus

    def read(self) -> Iterator[Reading]:
        """Yield the count, and a reading a service; nothing where neither systemd nor Windows is."""
        if sys.platform == "win32":
            yield from of_windows(ask_windows(), self.skip)
        elif RUNS.is_dir():
            yield from of_systemd(parse_failed(run(COMMAND, seconds=10).decode("utf-8", "replace")))
