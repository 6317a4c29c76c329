"""Pending updates are counted rarely and by the system's own tools; no package is named."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.probes import updates
from schoolpulse_agent.probes.updates import Probe, parse_apt, parse_search, parse_ubuntu
from schoolpulse_agent.programs import run

DEBIAN = """\
Reading package lists...
The following NEW packages will be installed:
  linux-image-6.1.0-40-amd64
Inst unzip [6.0-28] (6.0-28+deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst libc6 [2.36-9] (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst zip [3.0-13] (3.0-14 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64])
Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian-Security:12/oldstable-security [amd64])
Conf unzip (6.0-28+deb12u1 Debian-Security:12/oldstable-security [amd64])
"""
UBUNTU = """\
Inst firefox [1] (2 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])
Inst bash [1] (2 Ubuntu:22.04/jammy-updates [amd64])
Inst security-tools [1] (2 School:1/stable [all])
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with apt whose lists are three hours old, and with its index."""
    (tmp_path / "lists").mkdir()
    for name in ("deb_dists_bookworm_InRelease", "lock"):
        (tmp_path / "lists" / name).touch()
        os.utime(tmp_path / "lists" / name, (0, time.time() - 10_800))
    os.utime(tmp_path / "lists", (0, time.time() - 10_800))
    (tmp_path / "index").touch()
    for setting, name in (("LISTS", "lists"), ("REBOOT", "reboot"), ("INDEX", "index"), ("UBUNTU", "ubuntu")):
        monkeypatch.setattr(updates, setting, tmp_path / name)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(updates.time, "monotonic", lambda: now[0])
    return now


def fields(probe: Probe) -> dict[str, float]:
    (reading,) = probe.read()
    assert (reading.measurement, reading.tags) == ("updates", {})
    return reading.fields


@pytest.mark.parametrize(
    ("said", "expected"),
    [(DEBIAN, (3, 2)), (UBUNTU, (3, 1)), ("", (0, 0)), ("Inst", (0, 0)), ("Inst a [1] (b", (0, 0))],
)
def test_apt_says_what_it_would_replace(said: str, expected: tuple[int, int]) -> None:
    assert parse_apt(said) == {"pending": expected[0], "security": expected[1]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("\n12 updates can be applied immediately.\n3 of these updates are standard security updates.\n", (12, 3)),
        ("\n1 update can be applied immediately.\n1 of these updates is a standard security update.\n", (1, 1)),
        ("12 packages can be updated.\n4 updates are security updates.\n", (12, 4)),
        ("0 updates can be applied immediately.\n", (0, 0)),
    ],
)
def test_ubuntu_says_it_in_a_sentence(said: str, expected: tuple[int, int]) -> None:
    assert parse_ubuntu(said) == {"pending": expected[0], "security": expected[1]}


def test_a_sentence_in_another_language_is_not_guessed_at() -> None:
    assert parse_ubuntu("Có thể áp dụng ngay 12 bản cập nhật.\n") == {}


@given(st.text(max_size=200))
def test_any_text_is_counted_without_error(said: str) -> None:
    assert parse_apt(said)["pending"] >= parse_apt(said)["security"] >= 0
    assert set(parse_ubuntu(said)) <= {"pending", "security"}
    with suppress(ValueError):
        assert set(parse_search(said)) == {"pending", "security"}


def test_the_age_of_the_lists_and_a_due_restart_are_told_at_once(system: Path) -> None:
    found = fields(Probe())
    assert found["reboot_required"] == 0.0 and 10_800 <= found["lists_age"] < 10_900
    (system / "reboot").touch()
    assert fields(Probe())["reboot_required"] == 1.0


def test_without_apt_nothing_is_said(system: Path) -> None:
    shutil.rmtree(system / "lists")
    (system / "index").unlink()
    probe = Probe()
    assert list(probe.read()) == [] and list(probe.read()) == [] and list(probe.read()) == []


def test_the_search_comes_with_the_second_read_and_then_twice_a_day(
    system: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(updates, "run", lambda argv, seconds, limit: asked.append(argv) or DEBIAN.encode())
    probe = Probe()
    assert "pending" not in fields(probe) and not asked  # a lesson may just begin
    clock[0] += 900
    assert "pending" not in fields(probe) and asked == [updates.SIMULATE]
    clock[0] += 900
    assert fields(probe)["pending"] == 3.0
    clock[0] += 40_000
    assert fields(probe)["security"] == 2.0 and len(asked) == 1
    clock[0] += 4_000
    fields(probe)
    assert len(asked) == 2


def test_a_search_that_fails_is_not_tried_again_at_once_and_old_counts_are_not_told(
    system: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> bytes:
        raise TimeoutError

    probe = Probe(search=1000)
    monkeypatch.setattr(updates, "run", lambda argv, seconds, limit: DEBIAN.encode())
    fields(probe)
    fields(probe)
    assert "pending" in fields(probe)
    monkeypatch.setattr(updates, "run", fails)
    clock[0] += 1000
    with pytest.raises(TimeoutError):
        list(probe.read())
    assert "pending" not in fields(probe)


def test_ubuntu_s_sentence_is_taken_before_apt_is_asked(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "run", lambda *_, **__: 1 / 0)
    (system / "ubuntu").write_text("7 updates can be applied immediately.\n")
    assert updates.waiting_on_linux() == {"pending": 7.0, "security": 0.0}


def test_apt_is_not_asked_where_it_would_have_to_build_its_index(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "run", lambda *_, **__: 1 / 0)
    (system / "index").unlink()
    assert updates.waiting_on_linux() == {}


def test_this_system_s_apt_is_asked_without_a_lock_and_changes_nothing(system: Path) -> None:
    """The real apt-get, on a machine of its own: one package installed, a newer one in a list."""
    (system / "dpkg").mkdir()
    head = "Package: thing\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    (system / "dpkg/status").write_text(f"{head}Status: install ok installed\nVersion: 1\n\n")
    archive = system / "archive"
    archive.mkdir()
    (archive / "Packages").write_text(f"{head}Version: 2\nFilename: ./thing.deb\nSize: 1\nSHA256: {'0' * 64}\n\n")
    (system / "sources").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    own = [
        f"Dir::State={system}/state", f"Dir::State::status={system}/dpkg/status", f"Dir::Cache={system}/cache",
        f"Dir::Etc::sourcelist={system}/sources", "Dir::Etc::sourceparts=/dev/null", "Dir::Etc::parts=/dev/null",
        "APT::Architecture=amd64", "APT::Sandbox::User=root", "Dir::Etc::trustedparts=/dev/null",
    ]  # fmt: skip
    options = [word for each in own for word in ("-o", each)]
    (system / "state/lists/partial").mkdir(parents=True)
    (system / "cache/archives/partial").mkdir(parents=True)
    run(["apt-get", *options, "update"], seconds=60)
    command = [*updates.SIMULATE[:-1], *options, updates.SIMULATE[-1]]
    assert parse_apt(run(command, seconds=60).decode()) == {"pending": 1.0, "security": 0.0}
    assert "Version: 1" in (system / "dpkg/status").read_text()


# Windows and macOS


@pytest.mark.parametrize("key", [None, *updates.REBOOT_KEYS])
def test_windows_leaves_a_key_until_it_is_restarted(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(root: object, path: str) -> Any:
        if path != key:
            raise FileNotFoundError
        return SimpleNamespace(Close=lambda: None)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winreg", SimpleNamespace(HKEY_LOCAL_MACHINE="HKLM", OpenKey=opened))
    monkeypatch.setattr(updates, "powershell", lambda script, seconds: "12 3\r\n")
    probe = Probe()
    assert fields(probe) == {"reboot_required": float(key is not None)}
    fields(probe)
    assert fields(probe) == {"reboot_required": float(key is not None), "pending": 12.0, "security": 3.0}


def test_windows_updates_are_counted_without_names_and_without_the_network() -> None:
    assert "$s.Online=$false" in updates.SEARCH and not re.search("Title|KBArticle|Description", updates.SEARCH)
    with pytest.raises(ValueError, match="not two numbers"):
        parse_search("Exception from HRESULT")


def test_macos_keeps_the_count_of_its_own_last_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plist"
    path.write_bytes(plistlib.dumps({"LastRecommendedUpdatesAvailable": 2, "RecommendedUpdates": [{"Name": "x"}]}))
    assert updates.of_macos(path) == {"pending": 2.0}
    path.write_bytes(plistlib.dumps({"LastRecommendedUpdatesAvailable": True}))
    assert updates.of_macos(path) == {} and updates.of_macos(tmp_path / "none") == {}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(updates, "of_macos", lambda: {"pending": 1.0})
    assert fields(Probe()) == {"pending": 1.0}
