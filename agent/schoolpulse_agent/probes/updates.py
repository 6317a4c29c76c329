"""Updates that wait to be installed, and whether the machine must be restarted. Counts only: no package is named."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from schoolpulse_agent.probe import Metric, Reading, Tags, Why
from schoolpulse_agent.programs import powershell, run

METRICS = {
    ("updates", "pending"): Metric("1", "Updates to install", "Số bản cập nhật chờ cài", "12"),
    ("updates", "security"): Metric("1", "Security updates to install", "Số bản vá bảo mật chờ cài", "3"),
    ("updates", "reboot_required"): Metric(
        "1", "Must be restarted to finish an update (1)", "Cần khởi động lại để hoàn tất cập nhật (1)", "0"
    ),
    ("updates", "lists_age"): Metric("s", "Age of the lists of updates", "Tuổi của danh sách bản cập nhật", "43200"),
}
TAGS: Tags = {}
WHY = Why("Shows machines that are not kept up to date.", "Cho biết máy không được cập nhật.")
REBOOT = Path("/run/reboot-required")
LISTS = Path("/var/lib/apt/lists")
# Apt's own index. Without it apt builds one in memory, 80 MB and three seconds of a processor: then nothing is asked.
INDEX = Path("/var/cache/apt/pkgcache.bin")
UBUNTU = Path("/var/lib/update-notifier/updates-available")  # Ubuntu counts by itself
SIMULATE = ("nice", "-n", "19", "apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", "dist-upgrade")
_INST = re.compile(r"^Inst \S+ \[[^\]\n]*\] \(([^)\n]*)\)", re.MULTILINE)  # [what is there]: an upgrade, not a newcomer
# Windows Update leaves these keys until the next start.
REBOOT_KEYS = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
)
# What Windows Update found at its own last search: nothing goes over the network. The GUID: category Security Updates.
SEARCH = (
    "$s=(New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher(); $s.Online=$false; "
    "$u=@($s.Search(\"IsInstalled=0 and IsHidden=0 and Type='Software'\").Updates); "
    "$x=@($u | Where-Object { @($_.Categories | ForEach-Object { $_.CategoryID }) "
    "-contains '0fa1201d-4330-4fa8-8ae9-b877473b6441' }); \"$($u.Count) $($x.Count)\""
)
MACOS = Path("/Library/Preferences/com.apple.SoftwareUpdate.plist")


def parse_apt(said: str) -> dict[str, float]:
    """Count what ``apt-get -s dist-upgrade`` would replace; security by the archive's name, on Debian and Ubuntu."""
    origins = _INST.findall(said)
    security = [origin for origin in origins if re.search(r"[-/ ]security\b", origin, re.IGNORECASE)]
    return {"pending": float(len(origins)), "security": float(len(security))}


def parse_ubuntu(said: str) -> dict[str, float]:
    """Ubuntu's own sentence, if it is in English; empty otherwise (it is written in the language of the system)."""
    pending = re.search(r"^(\d{1,6}) (?:updates?|packages?) can be (?:applied|updated|installed)", said, re.MULTILINE)
    security = re.search(
        r"^(\d{1,6}) (?:of these updates (?:is a|are) standard security|updates? (?:is a|are) security|"
        r"of these updates (?:is a|are) security) updates?",
        said,
        re.MULTILINE,
    )
    if not pending:
        return {}
    return {"pending": float(pending[1]), "security": float(security[1]) if security else 0.0}


def parse_search(said: str) -> dict[str, float]:
    """The two numbers that SEARCH writes; raises ValueError."""
    numbers = re.fullmatch(r"\s*(\d{1,6}) (\d{1,6})\s*", said, re.ASCII)
    if not numbers:
        raise ValueError("Windows Update's answer is not two numbers")
    return {"pending": float(numbers[1]), "security": float(numbers[2])}


def waiting_on_linux() -> dict[str, float]:
    """By Ubuntu's sentence or apt; empty where there is neither. Raises OSError, ProgramError."""
    try:
        counted = parse_ubuntu(UBUNTU.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        counted = {}
    if counted or not INDEX.exists():
        return counted
    return parse_apt(run(SIMULATE, seconds=240, limit=4_000_000).decode("utf-8", "replace"))


def waiting_on_windows() -> dict[str, float]:
    """By Windows Update's own searcher. Not yet run on a real Windows."""
    return parse_search(powershell(SEARCH, seconds=240))


def of_macos(path: Path = MACOS) -> dict[str, float]:
    """What macOS found at its own last search; empty if it has not said. Not yet run on a real one."""
    import plistlib

    try:
        with path.open("rb") as file:
            count = plistlib.load(file).get("LastRecommendedUpdatesAvailable")
    except FileNotFoundError:
        return {}
    return {"pending": float(count)} if type(count) is int and 0 <= count < 100_000 else {}


def of_linux(now: float) -> dict[str, float]:
    """Whether a restart is due, where the system has a way to say so, and how old apt's lists are."""
    if not LISTS.is_dir():
        return {}
    stamps = [each.stat().st_mtime for each in LISTS.iterdir() if each.name.endswith(("InRelease", "Release"))]
    fields = {"reboot_required": float(REBOOT.exists())}
    if stamps:
        stamps.append(LISTS.stat().st_mtime)  # written at each update, though a list that has not changed is not
        fields["lists_age"] = max(0.0, float(round(now - max(stamps))))
    return fields


def of_windows() -> dict[str, float]:
    """Whether one of the two keys is there."""
    import winreg

    windows: Any = winreg
    for path in REBOOT_KEYS:
        try:
            windows.OpenKey(windows.HKEY_LOCAL_MACHINE, path).Close()
            return {"reboot_required": 1.0}
        except OSError:
            continue
    return {"reboot_required": 0.0}


@dataclass
class Probe:
    """What is cheap every quarter of an hour; ``search``: seconds between two searches, the first with the second read.

    So a lab that is switched on does not search on all machines at once while a lesson begins.
    """

    every: float = 900.0
    search: float = 43_200.0
    _found: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _next: float | None = field(default=None, init=False, repr=False)

    patience: ClassVar[float] = 300.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading, with the counts of the last search; a search comes after it, for the next."""
        search: Callable[[], dict[str, float]] = dict
        if sys.platform == "win32":
            fields, search = of_windows(), waiting_on_windows
        elif sys.platform == "darwin":
            fields = of_macos()
        else:
            fields, search = of_linux(time.time()), waiting_on_linux
        fields.update(self._found)
        if fields:
            yield Reading("updates", {}, fields)
        now = time.monotonic()
        if self._next is None:
            self._next = now
        elif now >= self._next:
            self._next = now + self.search  # also after a failure
            self._found = {}
            self._found = search()
