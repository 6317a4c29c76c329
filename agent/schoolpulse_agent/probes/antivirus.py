"""Whether the machine is protected against viruses: switched on, up to date, how old what it knows is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from schoolpulse_agent.probe import Metric, Reading, Tag, Why
from schoolpulse_agent.programs import powershell

METRICS = {
    ("antivirus", "enabled"): Metric("1", "Antivirus is on (1)", "Phần mềm diệt virus đang bật (1)", "1"),
    ("antivirus", "up_to_date"): Metric("1", "Antivirus is up to date (1)", "Phần mềm diệt virus đã cập nhật (1)", "1"),
    ("antivirus", "signatures_age"): Metric(
        "d", "Days since the antivirus learned of new viruses", "Số ngày từ lần cập nhật mẫu virus gần nhất", "0.6"
    ),
}
PRODUCTS = (
    "360", "avast", "avg", "avira", "bitdefender", "bkav", "clamav", "cmc", "defender", "eset", "kaspersky",
    "malwarebytes", "mcafee", "norton", "panda", "sophos", "symantec", "trend micro", "webroot",
)  # fmt: skip
TAGS = {
    ("antivirus", "product"): Tag(
        "Maker or product, from a fixed list; any other is called other",
        "Hãng hoặc sản phẩm, theo danh sách cố định; còn lại ghi là other",
        "defender",
    )
}
WHY = Why("Shows machines without working protection against viruses.", "Cho biết máy không được bảo vệ khỏi virus.")
OLD = 7.0  # days: then signatures are out of date
DAY = 86_400.0
# Of each product its state and name, nothing of paths or files.
CENTER = (
    "Get-CimInstance -Namespace root/SecurityCenter2 -ClassName AntiVirusProduct -ErrorAction SilentlyContinue | "
    'ForEach-Object { "$($_.productState) $($_.displayName)" }; exit 0'
)
DEFENDER = r"SOFTWARE\Microsoft\Windows Defender\Signature Updates"
CLAMAV = Path("/var/lib/clamav")
PROC = Path("/proc")


def product(name: str) -> str:
    """The known product that a name is of, else "other": what stands there is set by whoever installed it."""
    plain = name.lower()
    return next((known for known in PRODUCTS if known in plain), "other")


def parse_state(state: int) -> dict[str, float]:
    """Windows Security Center's productState: 0x1000 in the third digit is on, 0x10 is out of date.

    These are iwscapi.h's WSC_SECURITY_PRODUCT_STATE and WSC_SECURITY_SIGNATURE_STATUS, as packed by
    SecurityCenter2 (not documented by Microsoft; so described by many who looked).
    """
    return {"enabled": float(state & 0xF000 == 0x1000), "up_to_date": float(not state & 0xF0)}


def parse_center(listing: str) -> dict[str, dict[str, float]]:
    """Lines of a state and a name, by product; of two that are called the same, the better protected."""
    found: dict[str, dict[str, float]] = {}
    for line in listing.splitlines():
        state, _, name = line.strip().partition(" ")
        if not (state.isdigit() and state.isascii() and len(state) < 11):
            continue
        one, what = parse_state(int(state)), product(name)
        found[what] = max(found.get(what, one), one, key=lambda fields: (fields["enabled"], fields["up_to_date"]))
    return found


def parse_filetime(value: object) -> float | None:
    """Eight bytes of a Windows FILETIME (100 ns since 1601) as seconds since 1970; None for anything else."""
    if not isinstance(value, bytes) or len(value) != 8:
        return None
    seconds = int.from_bytes(value, "little") / 1e7 - 11_644_473_600
    return seconds if 0 < seconds < 2**33 else None


def parse_cvd(head: bytes) -> float | None:
    """When a ClamAV database was made, in seconds since 1970: the ninth part of its 512-byte head; None if damaged."""
    parts = head[:512].decode("ascii", "replace").split(":")
    made = parts[8].strip(" \0") if len(parts) > 8 and parts[0] == "ClamAV-VDB" else ""
    return float(made) if made.isdigit() and made.isascii() and len(made) < 11 else None


def of_clamav(now: float, folder: Path = CLAMAV, proc: Path = PROC) -> dict[str, dict[str, float]]:
    """ClamAV, if it has a database here: on while its daemon (clamd) runs."""
    made = [parse_cvd(_head(folder / name)) for name in ("daily.cld", "daily.cvd")]
    known = [each for each in made if each is not None]
    if not known:
        return {}
    age = max(0.0, (now - max(known)) / DAY)
    fields = {"enabled": float(_runs("clamd", proc)), "up_to_date": float(age <= OLD), "signatures_age": round(age, 2)}
    return {"clamav": fields}


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _runs(name: str, proc: Path) -> bool:
    """Whether a process of this name runs; the others' names are compared and forgotten."""
    for path in proc.glob("[0-9]*/comm"):
        try:
            if path.read_bytes() == name.encode() + b"\n":
                return True
        except OSError:  # it has ended since
            continue
    return False


def of_windows(now: float, ask: Callable[[str, float], str] = powershell) -> dict[str, dict[str, float]]:
    """What Windows Security Center lists, and how old Defender's signatures are. Not yet run on a real Windows.

    A Windows Server has no Security Center: of it only the age is known.
    """
    found = parse_center(ask(CENTER, 60))
    made = defender_made()
    if made and (not found or "defender" in found):
        found.setdefault("defender", {})["signatures_age"] = round(max(0.0, (now - made) / DAY), 2)
    return found


def defender_made() -> float | None:
    """When Defender's signatures were made; None if it is not there or not ours to read."""
    import winreg

    windows: Any = winreg
    try:
        with windows.OpenKey(windows.HKEY_LOCAL_MACHINE, DEFENDER) as key:
            return parse_filetime(windows.QueryValueEx(key, "AVSignatureApplied")[0])
    except OSError:
        return None


@dataclass
class Probe:
    """Each antivirus that the system knows of."""

    every: float = 3600.0

    patience: ClassVar[float] = 90.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading a product; nothing on Linux without ClamAV, nor on macOS, which keeps no such list."""
        if sys.platform == "win32":
            found = of_windows(time.time())
        else:
            found = of_clamav(time.time())
        for name, fields in found.items():
            yield Reading("antivirus", {"product": name}, fields)
