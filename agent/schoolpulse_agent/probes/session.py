"""Whether somebody uses the machine, and how long nobody has touched it: three numbers, never who.

Of a session only its state, class, lock, terminal and kind of desktop are looked at. Names, user numbers, addresses
and windows are not read.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Optional

from schoolpulse_agent import login1
from schoolpulse_agent.probe import Metric, Reading, Tags, Why
from schoolpulse_agent.programs import run

METRICS = {
    ("session", "active"): Metric(
        "1",
        "Somebody is signed in and the screen is not locked (1)",
        "Có người đang đăng nhập và màn hình không khóa (1)",
        "1",
    ),
    ("session", "count"): Metric(
        "1", "Sessions of people (count only)", "Số phiên làm việc của người dùng (chỉ đếm)", "1"
    ),
    ("session", "idle_bucket"): Metric(
        "1",
        "Untouched: 0 under 5 minutes, 1 to 15 minutes, 2 longer",
        "Không sử dụng: 0 dưới 5 phút, 1 đến 15 phút, 2 lâu hơn",
        "0",
    ),
}
TAGS: Tags = {}
WHY = Why(
    "Shows how much each room and machine is used, and machines left on for nobody; never who used them.",
    "Cho biết phòng và máy được sử dụng nhiều hay ít, máy bật mà không ai dùng; không bao giờ cho biết ai dùng.",
)
SESSIONS = Path("/run/systemd/sessions")  # logind's, read by sd_session_get_state(3) too
UTMP = Path("/run/utmp")
DEV = Path("/dev")
KEYS = ("STATE", "CLASS", "LOCKED_HINT", "TTY", "DESKTOP")  # all that is looked at in a session's file
MINUTES = (5, 15)  # where the buckets end
# Desktops that tell logind when nobody has touched them for DELAY seconds (GNOME's idle-delay); of others no word means
# nothing.
TELL = ("gnome", "ubuntu", "cinnamon", "budgie", "pop", "unity")
DELAY = 300.0
AGAIN = 900.0  # seconds until a bus that did not answer is asked again


class Session(NamedTuple):
    """One session of a person. ``idle``: seconds since a key was pressed, None where the system does not say."""

    active: bool
    idle: Optional[float] = None  # noqa: UP045 - a NamedTuple's types are read when Python 3.9 makes it
    tells: bool = False  # its desktop is one that says when it is idle


def bucket(idle: float) -> float:
    """0: under 5 minutes, 1: up to 15, 2: longer."""
    return float(sum(idle >= 60 * minutes for minutes in MINUTES))


def summary(sessions: list[Session]) -> dict[str, float]:
    """One machine's numbers: in use if any session is; how long untouched, by the one that was touched last."""
    fields = {"active": float(any(each.active for each in sessions)), "count": float(len(sessions))}
    idle = [each.idle for each in sessions if each.active and each.idle is not None]
    if idle:
        fields["idle_bucket"] = bucket(min(idle))
    return fields


# Linux


def parse_session(said: str) -> dict[str, str]:
    """The keys of a session's file that matter; the others, a person's name among them, are not kept."""
    pairs = (line.partition("=") for line in said.splitlines())
    return {key: value for key, mark, value in pairs if mark and key in KEYS}


def of_logind(folder: Path, dev: Path = DEV) -> list[Session]:
    """The people's sessions that logind knows: neither the sign-in screen nor what runs in the background.

    A locked screen counts as not in use. How long a text session was left alone is when its terminal was last typed
    at; of a desktop these files do not say it, see ``desktops``.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if not path.name.isalnum():  # <id>.ref is a pipe: opening it waits for ever
            continue
        try:
            said = parse_session(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:  # ended since
            continue
        if said.get("CLASS") in ("user", "user-early", "user-light") and said.get("STATE") in ("active", "online"):
            active = said["STATE"] == "active" and said.get("LOCKED_HINT") != "1"
            tells = said.get("DESKTOP", "").lower().split("-")[0] in TELL
            found.append(Session(active, untouched(said.get("TTY", ""), dev), tells))
    return found


def desktops(sessions: list[Session], since: float | None, now: float) -> list[Session]:
    """The same with desktops' idle times, from when logind was told that all are idle; None: one is not."""
    idle = 0.0 if since is None else max(0.0, now - since) + DELAY
    known = since is not None
    return [each._replace(idle=idle) if each.idle is None and (known or each.tells) else each for each in sessions]


def untouched(terminal: str, dev: Path = DEV) -> float | None:
    """Seconds since a terminal (``tty2``, ``pts/0``) was typed at, which is when it was read last; None if unknown."""
    if not terminal.replace("/", "").isalnum() or not terminal.isascii():
        return None
    try:
        return max(0.0, time.time() - (dev / terminal).stat().st_atime)
    except OSError:
        return None


RECORD = 384  # bytes of a record of utmp(5), on every 64-bit Linux
USER_PROCESS = 7


def of_utmp(records: bytes, dev: Path = DEV) -> list[Session]:
    """The sessions in /run/utmp, where there is no logind: of each record its type and its terminal, no name."""
    found = []
    for start in range(0, len(records) - RECORD + 1, RECORD):
        if int.from_bytes(records[start : start + 2], sys.byteorder) == USER_PROCESS:
            line = records[start + 8 : start + 40].partition(b"\0")[0].decode("ascii", "replace")
            found.append(Session(True, untouched(line, dev)))
    return found


def of_linux() -> list[Session] | None:
    """By logind, else by utmp; None where there is neither, as in a container."""
    if SESSIONS.is_dir():
        return of_logind(SESSIONS)
    try:
        return of_utmp(UTMP.read_bytes())
    except OSError:
        return None


# Windows: not yet run on a real one

ACTIVE, CONNECTED, DISCONNECTED = 0, 1, 4  # WTS_CONNECTSTATE_CLASS; CONNECTED is the sign-in screen
SESSION_INFO = 24  # WTSSessionInfo
LAST_INPUT, NOW = 192, 208  # bytes into WTSINFOW; what stands between names and these is skipped unseen
INFO = 216


def of_windows() -> list[Session]:
    """By the terminal services' API, which a service may ask of everybody's session. Raises OSError."""
    import ctypes
    from ctypes import byref, c_ulong, c_void_p

    class Info(ctypes.Structure):
        _fields_ = (("id", c_ulong), ("station", c_void_p), ("state", ctypes.c_int))

    windows: Any = ctypes
    wts = windows.WinDLL("wtsapi32")
    first, count = ctypes.POINTER(Info)(), c_ulong()
    if not wts.WTSEnumerateSessionsW(c_void_p(), c_ulong(), c_ulong(1), byref(first), byref(count)):
        raise OSError("WTSEnumerateSessionsW failed")
    try:
        listed = [(int(first[n].id), int(first[n].state)) for n in range(count.value)]
    finally:
        wts.WTSFreeMemory(first)
    found = []
    for number, state in listed:
        if number and state in (ACTIVE, DISCONNECTED):  # 0 is the services' own
            found.append(Session(state == ACTIVE, _input_of(wts, number)))
    return found


def _input_of(wts: Any, number: int) -> float | None:
    """Seconds since a session's last input; None if Windows does not say, as it does for some consoles."""
    from ctypes import byref, c_ulong, c_void_p, string_at

    body, size = c_void_p(), c_ulong()
    if not wts.WTSQuerySessionInformationW(c_void_p(), c_ulong(number), SESSION_INFO, byref(body), byref(size)):
        return None
    try:
        if not body.value or size.value < INFO:
            return None
        last, now = (int.from_bytes(string_at(body.value + at, 8), "little", signed=True) for at in (LAST_INPUT, NOW))
    finally:
        wts.WTSFreeMemory(body)
    return (now - last) / 10_000_000 if 0 < last <= now else None


# macOS: not yet run on a real one


def of_macos() -> list[Session]:
    """Who owns the console is asked only to know that it is not the system (user 0)."""
    if os.stat("/dev/console").st_uid == 0:  # noqa: PTH116 - no Path object is needed for this
        return []
    listing = run(("/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"), seconds=10)
    return [Session(True, parse_ioreg(listing.decode("utf-8", "replace")))]


def parse_ioreg(listing: str) -> float | None:
    """Seconds since the last input: HIDIdleTime of ``ioreg -c IOHIDSystem``, in nanoseconds there."""
    _, found, rest = listing.partition('"HIDIdleTime" = ')
    digits = rest.partition("\n")[0].strip()
    return int(digits) / 1e9 if found and digits.isdigit() and digits.isascii() and len(digits) < 20 else None


@dataclass
class Probe:
    """Sessions of people at this machine, however many; every five minutes on macOS, where it takes a program."""

    every: float = 300.0 if sys.platform == "darwin" else 60.0

    _ask: float = field(default=0.0, init=False, repr=False, compare=False)  # not before then

    patience: ClassVar[float] = 30.0 if sys.platform == "darwin" else 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading, none where the system keeps no list of sessions."""
        if sys.platform == "win32":
            found: list[Session] | None = of_windows()
        elif sys.platform == "darwin":
            found = of_macos()
        else:
            found = self._with_desktops(of_linux())
        if found is not None:
            yield Reading("session", {}, summary(found))

    def _with_desktops(self, found: list[Session] | None) -> list[Session] | None:
        """Ask logind only if a desktop is in use; a bus that does not answer costs 0.2 s, so not soon again."""
        now = time.monotonic()
        if not found or now < self._ask or not any(each.active and each.idle is None for each in found):
            return found
        try:
            return desktops(found, login1.idle_since(), time.time())
        except (OSError, login1.NoAnswer):
            self._ask = now + AGAIN
            return found
