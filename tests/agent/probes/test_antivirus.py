"""Whether an antivirus is on and up to date is told by bits and dates; of its name only what is on a fixed list."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import antivirus
from schoolpulse_agent.probes.antivirus import (
    Probe,
    of_clamav,
    of_windows,
    parse_center,
    parse_cvd,
    parse_filetime,
    parse_state,
    product,
)

NOW = 1_800_000_000.0
CENTER = "397568 Windows Defender\r\n266240 Bkav Pro - Nguyen Van An\r\n262160 An's own scanner C:\\Users\\an\r\n"


def database(made: float, seed: str = "nguyen") -> bytes:
    """The head of a ClamAV database."""
    head = f"ClamAV-VDB:16 Sep 2024 04-25 -0400:27399:2066963:90:{'0' * 32}:sig+x/y:{seed}:{made:.0f}"
    return head.encode().ljust(512) + b"\x1f\x8b rest"


@pytest.mark.parametrize(
    ("state", "on", "fresh"),
    [
        (0x061100, 1, 1),  # Defender as it should be
        (0x061110, 1, 0),
        (0x060100, 0, 1),
        (0x041010, 1, 0),
        (0x042000, 0, 1),  # for a while off
        (0x043010, 0, 0),  # licence has ended
        (0, 0, 1),
    ],
)
def test_the_states_bits_say_on_and_up_to_date(state: int, on: int, fresh: int) -> None:
    assert parse_state(state) == {"enabled": on, "up_to_date": fresh}


def test_products_are_told_from_a_fixed_list_and_nothing_else_of_their_names() -> None:
    found = parse_center(CENTER)
    assert set(found) == {"defender", "bkav", "other"}
    assert found["defender"] == {"enabled": 1.0, "up_to_date": 1.0}
    assert found["other"] == {"enabled": 0.0, "up_to_date": 0.0}
    assert product("Kaspersky Endpoint Security for Windows") == "kaspersky" and product("") == "other"


def test_of_two_that_are_called_the_same_the_better_counts() -> None:
    both = "262144 Kaspersky A\n266256 Kaspersky B\n266240 Kaspersky C\n"
    assert parse_center(both) == {"kaspersky": {"enabled": 1.0, "up_to_date": 1.0}}


@given(st.text(max_size=200) | st.binary(max_size=600).map(lambda raw: raw.decode("latin-1")))
def test_anything_is_a_list_or_a_date_or_nothing(said: str) -> None:
    assert set(parse_center(said)) <= {*antivirus.PRODUCTS, "other"}
    for made in (parse_cvd(said.encode("latin-1", "replace")), parse_filetime(said.encode())):
        assert made is None or made >= 0


def test_a_filetime_counts_from_1601() -> None:
    assert parse_filetime(struct.pack("<Q", 133_000_000_000_000_000)) == 1_655_526_400.0
    assert parse_filetime(b"\0" * 8) is None and parse_filetime(b"\xff" * 8) is None and parse_filetime("x") is None


@pytest.mark.parametrize(
    ("days", "running", "expected"), [(0.5, True, (1, 1, 0.5)), (6.9, False, (0, 1, 6.9)), (9, True, (1, 0, 9))]
)
def test_clamav_is_as_old_as_its_newest_database_and_on_while_its_daemon_runs(
    days: float, running: bool, expected: tuple[float, ...], tmp_path: Path
) -> None:
    (tmp_path / "daily.cvd").write_bytes(database(NOW - 90 * antivirus.DAY))
    (tmp_path / "daily.cld").write_bytes(database(NOW - days * antivirus.DAY))
    for pid, name in ((1, "systemd"), (2, "clamd-nguyen"), *([(3, "clamd")] if running else [])):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_text(name + "\n")
    (tmp_path / "4").mkdir()
    fields = of_clamav(NOW, tmp_path, tmp_path)["clamav"]
    assert tuple(fields.values()) == pytest.approx(expected)


def test_without_a_database_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_clamav(NOW, tmp_path) == {}
    (tmp_path / "daily.cvd").write_bytes(b"torn")
    assert of_clamav(NOW, tmp_path) == {}
    monkeypatch.setattr(of_clamav, "__defaults__", (tmp_path, tmp_path))
    assert list(Probe().read()) == []


class Key:
    def __enter__(self) -> Key:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def registry(monkeypatch: pytest.MonkeyPatch, value: bytes | None) -> None:
    def query(_: object, name: str) -> tuple[bytes, int]:
        if value is None or name != "AVSignatureApplied":
            raise FileNotFoundError
        return value, 3

    opened = {antivirus.DEFENDER: Key()}.__getitem__
    fake = SimpleNamespace(HKEY_LOCAL_MACHINE="HKLM", OpenKey=lambda root, path: opened(path), QueryValueEx=query)
    monkeypatch.setitem(sys.modules, "winreg", fake)


def test_windows_says_how_old_defenders_signatures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    registry(monkeypatch, struct.pack("<Q", int((NOW - antivirus.DAY + 11_644_473_600) * 1e7)))
    found = of_windows(NOW, lambda script, seconds: CENTER)
    assert found["defender"] == {"enabled": 1.0, "up_to_date": 1.0, "signatures_age": 1.0}
    assert "signatures_age" not in found["bkav"]
    assert of_windows(NOW, lambda script, seconds: "") == {"defender": {"signatures_age": 1.0}}  # a Windows Server
    assert of_windows(NOW, lambda script, seconds: "266240 ESET") == {"eset": {"enabled": 1.0, "up_to_date": 1.0}}


def test_on_windows_the_security_center_is_asked_and_no_path_is(monkeypatch: pytest.MonkeyPatch) -> None:
    registry(monkeypatch, None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(of_windows, "__defaults__", (lambda script, seconds: {antivirus.CENTER: CENTER}[script],))
    found = list(Probe().read())
    assert Reading("antivirus", {"product": "bkav"}, {"enabled": 1.0, "up_to_date": 1.0}) in found
    assert "nguyen" not in repr(found).lower() and "users" not in repr(found).lower()
    assert "pathTo" not in antivirus.CENTER
