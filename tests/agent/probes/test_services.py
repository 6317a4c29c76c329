"""Failed services are counted and named; what stands after @, mounts and people's own units never leave."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.probe import Reading, listed
from schoolpulse_agent.probes import services
from schoolpulse_agent.probes.services import Probe, of_systemd, of_windows, parse_failed

LISTING = """\
cups.service                      loaded    failed failed CUPS Scheduler
smbd.service                      not-found failed failed smbd.service
● nginx.service                   loaded    failed failed High performance web server of Nguyen Van An
backup@nguyen.van.an.service      loaded    failed failed Backup of Nguyen Van An
backup@an-2.service               loaded    failed failed Backup
user@1000.service                 loaded    failed failed User Manager for UID 1000
user-runtime-dir@1000.service     loaded    failed failed User Runtime Directory
home-nguyen.mount                 loaded    failed failed /home/nguyen
media-an.automount                loaded    failed failed media-an
session-3.scope                   loaded    failed failed Session 3 of user nguyen
user-1000.slice                   loaded    failed failed User Slice of UID 1000
home/nguyen.service               loaded    failed failed no unit's name
"""


def test_failed_services_are_counted_and_told_in_telegrafs_numbers() -> None:
    count, *units = of_systemd(parse_failed(LISTING))
    assert count == Reading("services", {}, {"failed": 4.0})
    assert {unit.tags["name"]: unit.fields for unit in units} == {
        "cups.service": {"load_code": 0.0, "active_code": 3.0, "sub_code": 12.0},
        "smbd.service": {"load_code": 2.0, "active_code": 3.0, "sub_code": 12.0},
        "nginx.service": {"load_code": 0.0, "active_code": 3.0, "sub_code": 12.0},
        "backup@.service": {"load_code": 0.0, "active_code": 3.0, "sub_code": 12.0},
    }


def test_no_persons_name_leaves_the_machine() -> None:
    said = repr(list(of_systemd(parse_failed(LISTING)))).lower()
    assert "nguyen" not in said and "1000" not in said and "an-2" not in said


def test_only_the_first_are_named_but_all_are_counted() -> None:
    units = parse_failed("".join(f"s{n}.service loaded failed failed x\n" for n in range(50)))
    count, *named = of_systemd(units)
    assert count.fields == {"failed": 50.0} and len(named) == services.MOST


def test_a_state_without_a_number_is_left_out() -> None:
    (_, unit) = of_systemd(parse_failed("a.service strange failed odd x"))
    assert unit.fields == {"active_code": 3.0}
    assert len(list(of_systemd(parse_failed("a.service b c d")))) == 1


@given(st.text(max_size=300) | st.lists(st.sampled_from(LISTING.split()), max_size=30).map(" ".join))
def test_any_text_gives_readings_that_may_be_sent(listing: str) -> None:
    for reading in of_systemd(parse_failed(listing)):
        assert listed("services", reading) and reading.fields
        assert "@" not in reading.tags.get("name", "").replace("@.service", "")


def test_systemctl_is_asked_where_systemd_runs_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(services, "run", lambda argv, seconds: asked.append((argv, seconds)) or LISTING.encode())
    monkeypatch.setattr(services, "RUNS", tmp_path / "none")
    assert list(Probe().read()) == [] and not asked
    monkeypatch.setattr(services, "RUNS", tmp_path)
    assert next(iter(Probe().read())).fields == {"failed": 4.0}
    assert asked == [(services.COMMAND, 10)] and Probe.patience > 10


def test_windows_services_that_should_run_and_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def service(*words: str) -> SimpleNamespace:
        name, status, start = words
        return SimpleNamespace(name=lambda: name, status=lambda: status, start_type=lambda: start)

    def gone() -> str:
        raise psutil.AccessDenied

    def each() -> Iterator[SimpleNamespace]:
        yield service("Spooler", "stopped", "automatic")
        yield service("WinDefend", "paused", "automatic")
        yield service("Dhcp", "running", "automatic")
        yield service("Fax", "stopped", "manual")
        yield service("gupdate", "stopped", "automatic")  # comes and goes
        yield service("CDPUserSvc_3f2a1", "stopped", "automatic")  # one person's
        yield SimpleNamespace(name=gone)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "win_service_iter", each, raising=False)
    assert list(Probe().read()) == [
        Reading("services", {}, {"failed": 2.0}),
        Reading("win_services", {"service_name": "Spooler"}, {"state": 1.0, "startup_mode": 2.0}),
        Reading("win_services", {"service_name": "WinDefend"}, {"state": 7.0, "startup_mode": 2.0}),
    ]


def test_which_windows_services_may_be_down_is_a_setting() -> None:
    down = [("Spooler", "stopped", "automatic")]
    assert list(of_windows(down, skip=("Spool",))) == [Reading("services", {}, {"failed": 0.0})]
