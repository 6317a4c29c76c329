"""Whether a machine is in use is told by three numbers; who uses it never leaves the machine."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import login1
from schoolpulse_agent.probes import session
from schoolpulse_agent.probes.session import Probe, Session, bucket, of_logind, of_utmp, parse_ioreg, summary

POISONED = """\
# This is private data. Do not parse.
UID=1000
USER=nguyen.van.an
ACTIVE=1
IS_DISPLAY=1
STATE={state}
REMOTE=0
LOCKED_HINT={locked}
TYPE=wayland
ORIGINAL_TYPE=wayland
CLASS={kind}
SCOPE=session-2.scope
SEAT=seat0
TTY={tty}
REMOTE_HOST=may-cua-an
REMOTE_USER=an
SERVICE=gdm-password
DESKTOP={desktop}
LEADER=1234
"""


def signed_in(folder: Path, number: str, state: str = "active", kind: str = "user", **more: str) -> None:
    (folder / number).write_text(
        POISONED.format(state=state, kind=kind, **{"locked": "0", "tty": "", "desktop": "", **more})
    )


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    (tmp_path / "sessions").mkdir()
    return tmp_path / "sessions"


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """Terminals, typed at so many seconds ago as their names say."""
    (tmp_path / "dev/pts").mkdir(parents=True)
    for name, ago in (("tty2", 30), ("pts/0", 400), ("pts/1", 7000)):
        path = tmp_path / "dev" / name
        path.touch()
        os.utime(path, (time.time() - ago, 0))
    return tmp_path / "dev"


@pytest.mark.parametrize(("idle", "expected"), [(0, 0), (299.9, 0), (300, 1), (899, 1), (900, 2), (1e9, 2)])
def test_idle_time_is_told_in_three_buckets(idle: float, expected: float) -> None:
    assert bucket(idle) == expected


def test_the_session_that_was_touched_last_says_how_long_nobody_did() -> None:
    assert summary([]) == {"active": 0.0, "count": 0.0}
    assert summary([Session(True)]) == {"active": 1.0, "count": 1.0}
    three = [Session(True, 2000.0), Session(True, 400.0), Session(False, 1.0)]
    assert summary(three) == {"active": 1.0, "count": 3.0, "idle_bucket": 1.0}


def test_a_person_at_a_desktop_is_in_use_and_a_locked_screen_is_not(sessions: Path) -> None:
    signed_in(sessions, "2")
    assert summary(of_logind(sessions)) == {"active": 1.0, "count": 1.0}
    signed_in(sessions, "2", locked="1")
    assert summary(of_logind(sessions)) == {"active": 0.0, "count": 1.0}
    signed_in(sessions, "2", state="online")  # another person has the screen
    assert summary(of_logind(sessions)) == {"active": 0.0, "count": 1.0}


def test_the_sign_in_screen_and_what_runs_in_the_background_are_nobody(sessions: Path) -> None:
    for number, kind in enumerate(("greeter", "lock-screen", "manager", "background", "user-incomplete", "")):
        signed_in(sessions, f"c{number}", kind=kind)
    signed_in(sessions, "9", state="closing")
    assert of_logind(sessions) == []


def test_logind_s_pipe_beside_a_session_is_never_opened(sessions: Path) -> None:
    signed_in(sessions, "2")
    os.mkfifo(sessions / "2.ref")  # opening it would wait for ever
    assert len(of_logind(sessions)) == 1


def test_how_long_a_terminal_was_left_alone_comes_from_its_file(sessions: Path, dev: Path) -> None:
    signed_in(sessions, "1", tty="pts/0")
    signed_in(sessions, "2", tty="pts/1")
    signed_in(sessions, "3", tty="../../etc/passwd")
    found = of_logind(sessions, dev)
    assert [each.idle and round(each.idle, -2) for each in found] == [400, 7000, None]
    assert summary(found) == {"active": 1.0, "count": 3.0, "idle_bucket": 1.0}


def test_of_a_session_s_file_no_more_than_five_keys_are_kept() -> None:
    filled = POISONED.format(state="active", kind="user", locked="0", tty="tty2", desktop="gnome")
    kept = {"STATE": "active", "CLASS": "user", "LOCKED_HINT": "0", "TTY": "tty2", "DESKTOP": "gnome"}
    assert session.parse_session(filled) == kept


@pytest.mark.parametrize(
    ("desktop", "since", "expected"),
    [
        ("gnome", None, 0.0),
        ("ubuntu-xorg", None, 0.0),
        ("xfce", None, None),  # it never tells: no word is no news
        ("xfce", 60.0, 1.0),  # told a minute ago, after five minutes
        ("gnome", 700.0, 2.0),
        ("gnome", -50.0, 1.0),  # the clock was set back
    ],
)
def test_how_long_a_desktop_was_left_alone_is_what_it_told_logind(
    desktop: str, since: float | None, expected: float | None, sessions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(sessions, "2", desktop=desktop)
    monkeypatch.setattr(session, "SESSIONS", sessions)
    monkeypatch.setattr(login1, "idle_since", lambda: None if since is None else time.time() - since)
    (reading,) = Probe().read()
    assert reading.fields.get("idle_bucket") == expected and reading.fields["active"] == 1.0


def test_a_bus_that_does_not_answer_is_left_alone_for_a_while(sessions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        asked.append(1)
        raise login1.NoAnswer

    asked: list[int] = []
    now = [1000.0]
    monkeypatch.setattr(session, "SESSIONS", sessions)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    monkeypatch.setattr(login1, "idle_since", fails)
    probe = Probe()
    list(probe.read())
    assert not asked  # nobody is signed in
    signed_in(sessions, "2", desktop="gnome")
    for _ in range(3):
        assert next(iter(probe.read())).fields == {"active": 1.0, "count": 1.0}
    assert len(asked) == 1
    now[0] += session.AGAIN
    list(probe.read())
    assert len(asked) == 2


@given(st.text(max_size=200))
def test_any_session_file_is_read_without_error(said: str) -> None:
    assert set(session.parse_session(said)) <= set(session.KEYS)


def record(kind: int, line: str, user: str) -> bytes:
    """One record as utmp(5) lays it out."""
    return struct.pack("=hxxi32s4s32s256s", kind, 77, line.encode(), b"ts/0", user.encode(), b"may-cua-an").ljust(
        384, b"\0"
    )


def test_without_logind_utmp_is_counted_by_type_and_terminal(dev: Path) -> None:
    records = record(2, "~", "reboot") + record(7, "tty2", "nguyen.van.an") + record(6, "tty3", "LOGIN")
    records += record(7, ":0", "an") + record(8, "pts/1", "an") + b"\0" * 100
    found = of_utmp(records, dev)
    assert [(each.active, each.idle is None) for each in found] == [(True, False), (True, True)]
    assert summary(found) == {"active": 1.0, "count": 2.0, "idle_bucket": 0.0}


@given(st.binary(max_size=1200))
def test_any_bytes_are_a_list_of_sessions(records: bytes) -> None:
    assert len(of_utmp(records)) <= len(records) // 384


def test_a_machine_says_its_numbers_and_nothing_else(sessions: Path, tmp_path: Path, monkeypatch: Any) -> None:
    signed_in(sessions, "2")
    monkeypatch.setattr(login1, "idle_since", lambda path="/no/such/bus", real=login1.idle_since: real(path))
    monkeypatch.setattr(session, "SESSIONS", sessions)
    (reading,) = Probe().read()
    assert (reading.measurement, reading.tags) == ("session", {})
    assert reading.fields == {"active": 1.0, "count": 1.0}
    monkeypatch.setattr(session, "SESSIONS", tmp_path / "none")
    monkeypatch.setattr(session, "UTMP", tmp_path / "utmp")
    assert list(Probe().read()) == []
    (tmp_path / "utmp").write_bytes(record(7, "tty999", "nguyen.van.an"))
    assert next(iter(Probe().read())).fields == {"active": 1.0, "count": 1.0}


class Terminals:
    """The two calls of wtsapi32.dll, with what Windows writes where; keeps what it gave until it is freed."""

    def __init__(self, sessions: list[tuple[int, int, int, int]]) -> None:
        self.sessions, self.given = sessions, {}
        self.asked: list[int] = []

    def WTSEnumerateSessionsW(self, server: Any, _: Any, version: Any, first: Any, count: Any) -> int:  # noqa: N802
        assert server.value is None and version.value == 1
        pointer = struct.calcsize("P")
        rows = [struct.pack("@IPi0P", number, 0, state) for number, state, *_ in self.sessions]
        assert all(len(row) == 3 * pointer for row in rows)
        self._give(first._obj, b"".join(rows))
        count._obj.value = len(rows)
        return 1

    def WTSQuerySessionInformationW(self, _: Any, number: Any, what: int, body: Any, size: Any) -> int:  # noqa: N802
        assert what == 24
        self.asked.append(number.value)
        state, last, now = next(rest for each, *rest in self.sessions if each == number.value)
        if now < 0:
            return 0
        names = "nguyen.van.an".encode("utf-16-le")
        info = struct.pack("<8I64s34s42s4xqqqqq", state, number.value, *[9] * 6, b"x", names, names, 5, 6, last, 7, now)
        info = info.ljust(176 + 40, b"\0")
        self._give(body._obj, info)
        size._obj.value = len(info)
        return 1

    def WTSFreeMemory(self, pointer: Any) -> None:  # noqa: N802
        del self.given[ctypes.cast(pointer, ctypes.c_void_p).value]

    def _give(self, pointer: Any, content: bytes) -> None:
        room = ctypes.create_string_buffer(content, len(content))
        self.given[ctypes.addressof(room)] = room
        ctypes.memmove(ctypes.addressof(pointer), struct.pack("P", ctypes.addressof(room)), struct.calcsize("P"))


def test_windows_tells_states_and_last_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    # c_ulong has Windows' four bytes
    monkeypatch.setattr(ctypes, "c_ulong", ctypes.c_uint32)
    second = 10_000_000
    now = 13_000_000_000 * second
    terminals = Terminals(
        [
            (0, 4, 0, now),  # the services' own
            (1, 1, 0, now),  # the sign-in screen
            (2, 0, now - 400 * second, now),
            (3, 4, now - 1 * second, now),  # somebody who has left without signing out
            (4, 0, 0, now),  # a console of which Windows does not know
            (5, 0, 0, -1),  # one that has ended since
        ]
    )
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: {"wtsapi32": terminals}[name], raising=False)
    assert session.of_windows() == [Session(True, 400.0), Session(False, 1.0), Session(True), Session(True)]
    assert terminals.asked == [2, 3, 4, 5] and not terminals.given  # all was given back
    (reading,) = Probe().read()
    assert reading.fields == {"active": 1.0, "count": 4.0, "idle_bucket": 1.0}


IOREG = '    | |   "HIDIdleTime" = 412345678901\n    | |   "HIDParameters" = {"EjectDelay"=0}\n'


def test_macos_tells_the_idle_time_of_whoever_has_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = [501]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(session, "run", lambda argv, seconds: IOREG.encode())
    monkeypatch.setattr(session, "os", SimpleNamespace(stat=lambda path: SimpleNamespace(st_uid=owner[0])))
    assert next(iter(Probe().read())).fields == {"active": 1.0, "count": 1.0, "idle_bucket": 1.0}
    owner[0] = 0
    assert next(iter(Probe().read())).fields == {"active": 0.0, "count": 0.0}


def test_nanoseconds_are_read_from_what_ioreg_prints() -> None:
    assert parse_ioreg(IOREG) == pytest.approx(412.345678901)
    assert parse_ioreg("") is None and parse_ioreg('"HIDIdleTime" = <00ff>') is None


@given(st.text(max_size=60) | st.text("0123456789\n²", max_size=30).map('"HIDIdleTime" = {}'.format))
def test_any_listing_gives_a_time_or_none(listing: str) -> None:
    found = parse_ioreg(listing)
    assert found is None or found >= 0
