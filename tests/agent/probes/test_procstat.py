"""Only programs of the machine's own list are measured, and no other name, path or command line leaves it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import remote, settings
from schoolpulse_agent.probes import procstat
from schoolpulse_agent.probes.procstat import Probe, Use, of_linux, of_others, parse_stat

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def process(proc: Path, pid: int, comm: str, cpu: int = 0, rss: int = 1, threads: int = 1, began: int = 7) -> None:
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    cut = comm.encode()[:15]
    (folder / "comm").write_bytes(cut + b"\n")
    rest = ["S", *["0"] * 10, str(cpu), "0", *["0"] * 4, str(threads), "0", str(began), "0", str(rss), "0"]
    (folder / "stat").write_bytes(b"%d (" % pid + cut + b") " + " ".join(rest).encode())
    (folder / "cmdline").write_bytes(b"/home/nguyen.van.an/secret\0--password\0x")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sys").mkdir()
    (tmp_path / "uptime").write_text("1 2")
    monkeypatch.setattr(of_linux, "__defaults__", (tmp_path,))
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(procstat.time, "monotonic", lambda: now[0])
    return now


def fields(probe: Probe) -> dict[str, dict[str, float]]:
    return {reading.tags["process_name"]: reading.fields for reading in probe.read()}


def test_without_a_list_nothing_is_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procstat, "of_linux", lambda names: 1 / 0)
    assert list(Probe().read()) == [] and list(Probe(names=("",)).read()) == []


def test_processes_of_one_name_count_together(proc: Path) -> None:
    process(proc, 10, "firefox-esr", rss=100, threads=30)
    process(proc, 11, "firefox-esr", rss=50, threads=4)
    process(proc, 12, "nguyen-van-an", rss=900)
    assert fields(Probe(names=("firefox-esr",))) == {
        "firefox-esr": {"memory_rss": 150.0 * PAGE, "num_threads": 34.0, "pid_count": 2.0}
    }


def test_names_are_compared_exactly(proc: Path) -> None:
    process(proc, 10, "firefox")
    assert fields(Probe(names=("fire", "Firefox", "firefox-esr", "*"))) == {}


def test_a_name_longer_than_linux_keeps_is_told_as_it_is_listed(proc: Path) -> None:
    process(proc, 10, "libreoffice-calc-bin")
    process(proc, 11, "phần-mềm-phòng-máy")  # letters of more than one byte are cut within
    assert set(fields(Probe(names=("libreoffice-calc-bin", "phần-mềm-phòng-máy")))) == {
        "libreoffice-calc-bin",
        "phần-mềm-phòng-máy",
    }


def test_how_busy_it_is_comes_from_the_step_between_two_reads(proc: Path, clock: list[float]) -> None:
    probe = Probe(names=("a",))
    process(proc, 10, "a", cpu=500 * TICKS)
    process(proc, 11, "a", cpu=500 * TICKS)
    assert "cpu_usage" not in fields(probe)["a"]
    clock[0] += 100
    process(proc, 10, "a", cpu=520 * TICKS)
    process(proc, 11, "a", cpu=3 * TICKS, began=8)  # another process that got the number: all of it is new
    process(proc, 12, "a", cpu=2 * TICKS)
    assert fields(probe)["a"]["cpu_usage"] == pytest.approx(25.0)


def test_the_largest_by_memory_and_the_busiest_are_shown(proc: Path, clock: list[float]) -> None:
    names = tuple("abcd")
    for pid, name in enumerate(names, start=10):
        process(proc, pid, name, rss=pid)
    probe = Probe(names=names, top=1)
    assert set(fields(probe)) == {"a", "d"}  # nobody is busier than another yet
    clock[0] += 10
    process(proc, 11, "b", cpu=5 * TICKS, rss=11)
    assert set(fields(probe)) == {"b", "d"}
    assert fields(Probe(names=names, top=-1)) == {}


def test_a_process_that_ends_while_it_is_read_is_left_out(proc: Path) -> None:
    process(proc, 10, "a")
    process(proc, 11, "a")
    (proc / "11" / "stat").unlink()
    (proc / "12").mkdir()
    assert fields(Probe(names=("a",)))["a"]["pid_count"] == 1.0


def test_a_name_may_hold_spaces_and_brackets() -> None:
    rest = ["S", *["0"] * 10, "30", "20", *["0"] * 4, "3", "0", "99", "0", "4", "0"]
    stat = b"7 (a) S 1 (b) " + " ".join(rest).encode()
    assert parse_stat(stat, ticks=10, page=4096) == Use(99.0, 5.0, 4 * 4096, 3.0)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_process_or_a_value_error(stat: bytes) -> None:
    with suppress(ValueError):
        assert len(parse_stat(stat, 100, 4096)) == 4


def test_this_very_process_is_found_on_linux_and_by_psutil() -> None:
    name = Path("/proc/self/comm").read_text().strip()
    assert os.getpid() in of_linux((name,), Path("/proc"))[name]
    mine = psutil.Process().name()
    found = of_others((mine,))[mine][os.getpid()]
    assert found.rss > 0 and found.threads >= 1 and found.began > 0
    assert set(of_others((mine,))) == {mine}


def test_elsewhere_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(procstat, "of_others", lambda names: {names[0]: {1: Use(1.0, 1.0, 5.0, 2.0)}})
    assert fields(Probe(names=("chrome.exe",)))["chrome.exe"]["memory_rss"] == 5.0


def test_the_centre_can_name_no_program() -> None:
    own = settings.parse({"probe": {"procstat": {"names": ["a"]}}}, "agent.toml")
    with pytest.raises(settings.SettingsError, match="machine's own file"):
        remote.merged(own, {"probe": {"procstat": {"names": ["explorer.exe"]}}})
    assert remote.merged(own, {"probe": {"procstat": {"top": 2}}}).probes["procstat"] == Probe(names=("a",), top=2)
