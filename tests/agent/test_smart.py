"""The root helper tells what disks say of themselves and nothing else; no disk keeps it from the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import ROOT

from schoolpulse_agent import probe, smart
from schoolpulse_agent.probes import smart as reading
from schoolpulse_agent.probes.smart import METRICS, Probe

FIXTURES = Path(__file__).parent / "probes/smartctl"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
)


def answer(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


# What smartctl says


@pytest.mark.parametrize(
    ("name", "serial", "expected"),
    [
        (
            "hdd",
            "Z3T00001",
            {
                "health_ok": 1,
                "exit_status": 64,
                "temp_c": 38,
                "power_on_hours": 13442,
                "power_cycle_count": 3302,
                "reallocated_sectors_count": 8,
                "spin_retry_count": 0,
                "end_to_end_error": 0,
                "uncorrectable_errors": 2,
                "pending_sector_count": 16,
                "uncorrectable_sector_count": 16,
                "udma_crc_errors": 3,
            },
        ),
        (
            "ssd",
            "S3Y0NB0K000001A",
            {
                "health_ok": 1,
                "exit_status": 0,
                "temp_c": 34,
                "power_on_hours": 8760,
                "power_cycle_count": 1203,
                "reallocated_sectors_count": 0,
                "realloc_event_count": 0,  # "0 (Average 1)": the number of 48 bits is another
                "uncorrectable_errors": 0,
                "udma_crc_errors": 0,
                "wear_leveling_count": 97,
                "percent_lifetime_remain": 91,
                "media_wearout_indicator": 98,
            },
        ),
        (
            "nvme",
            "50026B7000000001",
            {
                "health_ok": 1,
                "exit_status": 0,
                "temp_c": 41,
                "power_on_hours": 2210,
                "power_cycle_count": 1203,
                "critical_warning": 0,
                "available_spare": 100,
                "available_spare_threshold": 10,
                "percentage_used": 4,
                "media_errors": 0,
                "error_log_entries": 12,
                "unsafe_shutdowns": 31,
            },
        ),
        (
            "usb_sat",
            "X4ABCDEFG",
            {
                "health_ok": 1,
                "exit_status": 4,
                "power_on_hours": 12206,
                "reallocated_sectors_count": 0,
                "pending_sector_count": 0,
                "udma_crc_errors": 0,
            },
        ),
        (
            "sas",
            "WFK00001",
            {
                "health_ok": 1,
                "exit_status": 0,
                "temp_c": 29,
                "power_on_hours": 30211,
                "reallocated_sectors_count": 3,
                "uncorrectable_errors": 3,
            },
        ),
        (
            "sas_ssd",
            "Y7E0A00001",
            {"health_ok": 0, "exit_status": 8, "temp_c": 33, "percentage_used": 88, "reallocated_sectors_count": 0},
        ),
        ("standby", "", {}),
        ("usb_unknown", "", {}),
        ("virtual", "", {}),
    ],
)
def test_each_kind_of_disk_is_told_in_telegrafs_names(name: str, serial: str, expected: dict[str, float]) -> None:
    assert smart.parse(answer(name)) == (serial, expected)


def test_a_failing_disk_says_so_and_keeps_its_numbers() -> None:
    serial, fields = smart.parse(answer("nvme_failing"))
    assert serial == "50026B7000000002"
    assert (fields["health_ok"], fields["exit_status"], fields["critical_warning"]) == (0, 8, 5)
    assert (fields["available_spare"], fields["percentage_used"], fields["media_errors"]) == (3, 117, 44)


def test_every_field_of_a_disk_is_one_that_is_sent_and_each_that_is_sent_comes_from_a_disk() -> None:
    found = {name for path in FIXTURES.glob("*.json") for name in smart.parse(path.read_bytes())[1]}
    assert {("smart_device", name) for name in found} == set(METRICS)


def test_only_disks_that_could_be_opened_are_asked() -> None:
    expected = [("/dev/sda", "sat"), ("/dev/bus/0", "megaraid,0"), ("/dev/bus/0", "megaraid,1"), ("/dev/nvme0", "nvme")]
    assert smart.devices(answer("scan")) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [("/etc/passwd", "sat"), ("-x", "sat"), ("/dev/../etc/x", "sat"), ("/dev/sda", "-x"), ("/dev/sda", 3), (None, "")],
)
def test_no_scan_makes_an_option_or_another_file_of_a_disk(name: Any, kind: Any) -> None:
    assert smart.devices(json.dumps({"devices": [{"name": name, "type": kind}, None]}).encode()) == []


@given(st.binary(max_size=100) | ANYTHING.map(lambda tree: json.dumps(tree).encode()))
def test_any_bytes_are_an_answer_or_a_value_error(content: bytes) -> None:
    for parser in (smart.devices, smart.parse):
        with suppress(ValueError):
            parser(content)


PLACES: list[tuple[str, ...]] = [
    ("smart_status", "passed"),
    ("temperature", "current"),
    ("power_on_time",),
    ("ata_smart_attributes", "table"),
    ("nvme_smart_health_information_log",),
    ("scsi_error_counter_log", "read"),
    ("serial_number",),
    ("smartctl",),
]


@given(st.sampled_from(["hdd", "ssd", "nvme", "sas"]), st.sampled_from(PLACES), ANYTHING)
def test_a_disk_that_says_nonsense_somewhere_yields_only_numbers(name: str, place: tuple[str, ...], what: Any) -> None:
    tree = json.loads(answer(name))
    node = tree
    for step in place[:-1]:
        node = node.setdefault(step, {})
    node[place[-1]] = what
    serial, fields = smart.parse(json.dumps(tree).encode())
    assert isinstance(serial, str)
    assert all(type(value) is float and isfinite(value) for value in fields.values())


def test_json_nested_without_end_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        smart.parse(b'{"a":' * 100_000)


# The helper, with a smartctl that is a real program

FAKE = """#!{python} -IS
import json, os, sys, time
folder, devices, disks = {folder!r}, {devices!r}, {disks!r}
with open(folder + "/asked", "a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
if "--scan-open" in sys.argv:
    print(json.dumps({{"smartctl": {{"exit_status": 0}}, "devices": devices}}))
    sys.exit(0)
what = disks[sys.argv[-1]]
if what == "hangs":
    time.sleep(600)
if what == "floods":
    sys.stdout.write("x" * 10_000_000)
    sys.exit(0)
said = open({fixtures!r} + "/" + what + ".json").read()
print(said)
sys.exit(json.loads(said)["smartctl"]["exit_status"])
"""

Fake = Callable[[dict[str, str]], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a smartctl in place that knows these disks (path -> fixture, ``hangs``, ``floods``); the file it fills."""

    def put(disks: dict[str, str]) -> Path:
        devices = [{"name": name, "type": "nvme" if "nvme" in name else "sat"} for name in disks]
        program = tmp_path / "smartctl"
        code = FAKE.format(
            python=sys.executable, folder=str(tmp_path), devices=devices, disks=disks, fixtures=str(FIXTURES)
        )
        program.write_text(code)
        program.chmod(0o755)
        monkeypatch.setattr(smart, "SMARTCTL", str(program))
        monkeypatch.setattr(reading, "FILE", str(tmp_path / "smart.json"))
        return tmp_path / "smart.json"

    return put


def test_from_smartctl_to_the_probe(fake: Fake) -> None:
    out = fake({"/dev/sda": "hdd", "/dev/nvme0": "nvme_failing", "/dev/sdb": "standby", "/dev/sdc": "virtual"})
    assert smart.main(["--out", str(out)]) == 0
    first, second = Probe().read()
    assert first.tags == {"name": "sda", "serial_no": "Z3T00001"}
    assert second.tags == {"name": "nvme0", "serial_no": "50026B7000000002"}
    assert first.fields == smart.parse(answer("hdd"))[1]
    assert second.fields == smart.parse(answer("nvme_failing"))[1]
    assert all(probe.listed("smart", each) for each in (first, second))


def test_a_disk_that_sleeps_is_never_woken_and_its_type_is_that_of_the_scan(fake: Fake) -> None:
    out = fake({"/dev/sda": "hdd"})
    smart.main(["--out", str(out)])
    asked = (out.parent / "asked").read_text().splitlines()
    assert asked == ["--scan-open -j", "-j -n standby -a -d sat /dev/sda"]


def test_the_file_holds_nothing_but_what_is_sent(fake: Fake) -> None:
    out = fake({"/dev/sda": "hdd"})
    smart.main(["--out", str(out)])
    tree = json.loads(out.read_text())
    (disk,) = tree["disks"]
    assert set(tree) == {"read", "disks"} and abs(tree["read"] - time.time()) < 300
    assert set(disk) == {"device", "serial", "fields"}
    assert "ST500DM002" not in out.read_text()


def test_everyone_may_read_the_file_and_nobody_but_its_owner_write_it(fake: Fake) -> None:
    out = fake({"/dev/sda": "hdd"})
    old = os.umask(0o077)
    try:
        smart.main(["--out", str(out)])
    finally:
        os.umask(old)
    assert out.stat().st_mode & 0o777 == 0o644


def test_what_a_killed_run_left_is_replaced_and_a_link_there_is_not_followed(fake: Fake) -> None:
    out = fake({"/dev/sda": "hdd"})
    victim = out.parent / "victim"
    victim.write_text("mine")
    out.with_name("smart.json.new").symlink_to(victim)
    assert smart.main(["--out", str(out)]) == 0
    assert victim.read_text() == "mine" and not out.is_symlink()
    assert not out.with_name("smart.json.new").exists()


def test_a_disk_that_hangs_or_floods_keeps_no_other_from_being_asked(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = fake({"/dev/sda": "hangs", "/dev/sdb": "floods", "/dev/sdc": "ssd"})
    monkeypatch.setattr(smart, "DISK_SECONDS", 2.0)
    assert smart.main(["--out", str(out)]) == 0
    (disk,) = json.loads(out.read_text())["disks"]
    assert disk["device"] == "sdc"
    said = capsys.readouterr().err
    assert "smart: sda: " in said and "took more than" in said
    assert "smart: sdb: " in said and "wrote more than" in said


def test_the_whole_run_ends_before_systemd_would_end_it(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = fake({"/dev/sda": "hangs", "/dev/sdb": "hangs", "/dev/sdc": "ssd"})
    monkeypatch.setattr(smart, "ALL_SECONDS", 1.0)
    assert smart.main(["--out", str(out)]) == 0
    assert json.loads(out.read_text())["disks"] == []
    assert "no time left for sdc" in capsys.readouterr().err


def test_disks_behind_one_controller_have_names_of_their_own(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake({"/dev/bus/0": "sas"})
    both = [("/dev/bus/0", "megaraid,0"), ("/dev/bus/0", "megaraid,1")]
    monkeypatch.setattr(smart, "devices", lambda _answer: both)
    assert [disk["device"] for disk in smart.ask_all()] == ["bus/0 megaraid,0", "bus/0 megaraid,1"]


def test_the_serial_number_of_what_is_plugged_in_is_nobodys_business(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, place in {"sda": "pci0000:00/ata1/host0/block/sda", "sdb": "pci0000:00/usb2/2-1/host6/block/sdb"}.items():
        (tmp_path / "devices" / place).mkdir(parents=True)
        (tmp_path / "block").mkdir(exist_ok=True)
        (tmp_path / "block" / name).symlink_to(tmp_path / "devices" / place)
    monkeypatch.setattr(smart, "SYS_BLOCK", str(tmp_path / "block"))
    out = fake({"/dev/sda": "hdd", "/dev/sdb": "usb_sat"})
    smart.main(["--out", str(out)])
    inside, plugged = Probe().read()
    assert "serial_no" in inside.tags and plugged.tags == {"name": "sdb"}


@pytest.mark.parametrize("broken", ["absent", "no program", "no json", "no folder"])
def test_what_stops_the_helper_is_told_in_one_line(
    broken: str, fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = fake({"/dev/sda": "hdd"})
    program = out.with_name("smartctl")
    if broken == "absent":
        program.unlink()
    elif broken == "no program":
        program.write_text("nothing")
    elif broken == "no json":
        program.write_text("#!/bin/sh\necho smartctl 6.6\n")
    else:
        out = out.parent / "none" / "smart.json"
    assert smart.main(["--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("smart: ") and said.count("\n") == 1
    assert ("install smartmontools" in said) is (broken == "absent")
    assert not out.exists()


def test_it_runs_with_nothing_but_the_package_and_the_real_smartctl(tmp_path: Path) -> None:
    out = tmp_path / "smart.json"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'agent')!r}); from schoolpulse_agent.smart import main; "
    command = [sys.executable, "-I", "-S", "-c", code + "sys.exit(main(sys.argv[1:]))", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert isinstance(json.loads(out.read_text())["disks"], list)
