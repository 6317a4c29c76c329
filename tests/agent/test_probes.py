"""Each probe, on this very machine, yields what its table of metrics promises."""

from __future__ import annotations

import time
from math import isfinite
from pathlib import Path

import pytest

from schoolpulse_agent import probe, probes, wire
from schoolpulse_agent.probe import Metric, Reading
from schoolpulse_agent.probes import cpu, disk, diskio, processes
from schoolpulse_agent.wire import Report, encode, encode_report, group_key

# What would ask anybody but this machine, by default.
ON_LOOPBACK: dict[str, dict[str, object]] = {
    "internet": {"spread": 0.0, "ping": ("127.0.0.1",), "dns": ("127.0.0.1:1",), "http": ("http://127.0.0.1:1/",)}
}


def read(name: str, **own: object) -> list[Reading]:
    """What a probe yields once it has its base line."""
    one = probe.probe_class(name)(**{**ON_LOOPBACK.get(name, {}), **own})
    list(one.read())
    if name == "cpu":
        time.sleep(0.1)  # CPU time is counted in steps of 0.01 s
    return list(one.read())


def fields(name: str) -> dict[str, float]:
    (reading,) = read(name)
    return reading.fields


# All of them


def test_every_file_is_a_probe() -> None:
    files = {path.stem for path in Path(probes.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(probe.names()) == files
    assert {"cpu", "disk", "diskio", "mem", "net", "processes", "swap", "system"} <= files


@pytest.mark.parametrize("name", probe.names())
def test_a_probe_yields_only_finite_values_of_its_metrics_and_they_pass_the_wire(name: str) -> None:
    readings = read(name)
    known = probe.metrics(name)
    for reading in readings:
        assert reading.fields
        assert {(reading.measurement, field) for field in reading.fields} <= set(known)
        assert all(type(value) is float and isfinite(value) for value in reading.fields.values())
    groups = {group_key(reading.measurement, reading.tags): reading.fields for reading in readings}
    assert len(groups) == len(readings)  # no two of one place
    if groups:
        (report,) = wire.decode(encode(1, 1, [encode_report(Report(1, 1, 1.0, groups))])).reports
        assert report.m == groups


@pytest.mark.parametrize("name", ["cpu", "mem", "processes", "swap", "system"])
def test_what_every_machine_has_is_read_as_one_place(name: str) -> None:
    assert fields(name)


@pytest.mark.parametrize("name", probe.names())
def test_how_often_a_probe_is_read_is_one_of_its_settings(name: str) -> None:
    assert probe.probe_class(name)().every >= 0.0
    assert probe.probe_class(name)(every=300.0).every == 300.0


@pytest.mark.parametrize(("key", "metric"), probe.metrics().items(), ids=map("_".join, probe.metrics()))
def test_every_metric_has_a_unit_and_a_label_in_both_languages(key: tuple[str, str], metric: Metric) -> None:
    assert all(text.strip() == text and text for text in metric)
    assert metric.en != metric.vi
    assert wire.split_group(key[0]) == (key[0], ())


def test_all_metrics_are_those_of_the_probes_and_the_agents_own() -> None:
    parts = [probe.OWN_METRICS, *map(probe.metrics, probe.names())]
    assert len(probe.metrics()) == sum(map(len, parts))  # no field is promised twice
    assert probe.metrics() == {key: metric for part in parts for key, metric in part.items()}


# The processor


def test_the_first_read_of_the_processor_is_only_a_base_line() -> None:
    assert list(cpu.Probe().read()) == []


def test_shares_of_the_processor_add_up() -> None:
    found = fields("cpu")
    shares = {name: value for name, value in found.items() if name != "usage_active"}
    assert sum(shares.values()) == pytest.approx(100, abs=0.1)
    assert all(0 <= value <= 100 for value in found.values())


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        (
            {"user": 3.0, "system": 1.0, "idle": 6.0},
            {"user": 0.0, "system": 0.0, "idle": 0.0},
            {"usage_user": 30.0, "usage_system": 10.0, "usage_idle": 60.0, "usage_active": 40.0},
        ),
        (  # waiting for disks is not active
            {"user": 11.0, "idle": 22.0, "iowait": 7.0},
            {"user": 10.0, "idle": 20.0, "iowait": 0.0},
            {"usage_user": 10.0, "usage_idle": 20.0, "usage_iowait": 70.0, "usage_active": 10.0},
        ),
        (  # iowait goes back on real machines
            {"user": 12.0, "idle": 20.0, "iowait": 4.0},
            {"user": 10.0, "idle": 18.0, "iowait": 5.0},
            {"usage_user": 50.0, "usage_idle": 50.0, "usage_iowait": 0.0, "usage_active": 50.0},
        ),
        (  # guest time is in user already; Windows calls irq interrupt and has dpc
            {"user": 2.0, "guest": 2.0, "idle": 6.0, "interrupt": 2.0, "dpc": 5.0},
            {"user": 0.0, "guest": 0.0, "idle": 0.0, "interrupt": 0.0, "dpc": 0.0},
            {"usage_user": 20.0, "usage_idle": 60.0, "usage_irq": 20.0, "usage_active": 40.0},
        ),
        ({"user": 5.0, "idle": 5.0}, {"user": 5.0, "idle": 5.0}, {}),  # no time has passed
        ({"user": 1.0, "idle": 1.0}, {"user": 5.0, "idle": 5.0}, {}),  # all went back
    ],
)
def test_shares_come_from_the_step_between_two_readings(
    now: dict[str, float], last: dict[str, float], expected: dict[str, float]
) -> None:
    assert cpu.usage(now, last) == pytest.approx(expected)


# Disks


@pytest.mark.parametrize(
    ("total", "free", "expected"),
    [
        (0, 0, {}),  # btrfs, NTFS
        (100, 100, {"inodes_total": 100, "inodes_free": 100, "inodes_used": 0, "inodes_used_percent": 0}),
        (3, 1, {"inodes_total": 3, "inodes_free": 1, "inodes_used": 2, "inodes_used_percent": 66.67}),
        (100, 0, {"inodes_total": 100, "inodes_free": 0, "inodes_used": 100, "inodes_used_percent": 100}),
    ],
)
def test_used_inodes_are_those_not_free(total: int, free: int, expected: dict[str, float]) -> None:
    assert disk.inodes(total, free) == expected


def test_a_disk_is_as_large_as_its_parts() -> None:
    found = read("disk", types=disk.LOCAL)
    for reading in found:
        assert set(reading.tags) == {"path", "fstype"}
        assert reading.fields["used"] + reading.fields["free"] <= reading.fields["total"]
        assert 0 <= reading.fields["used_percent"] <= 100
    assert len({reading.tags["path"] for reading in found}) == len(found)


def test_only_the_types_asked_for_are_read() -> None:
    assert read("disk", types=()) == []


@pytest.mark.parametrize(
    ("name", "disks", "expected"),
    [
        ("sda1", ["sda", "sda1"], True),
        ("sda", ["sda", "sda1"], False),
        ("sda10", ["sda", "sda10"], True),
        ("sdab1", ["sda", "sdab1"], False),
        ("xvda1", ["xvda1", "xvda2"], False),  # some virtual machines have partitions without a disk
        ("nvme0n1", ["nvme0n1", "nvme0n1p2"], False),
        ("nvme0n1p2", ["nvme0n1", "nvme0n1p2"], True),
        ("nvme1n1p2", ["nvme0n1", "nvme1n1p2"], False),
        ("mmcblk0", ["mmcblk0", "mmcblk0p1", "mmcblk0boot0"], False),
        ("mmcblk0p1", ["mmcblk0", "mmcblk0p1"], True),
        ("mmcblk0boot0", ["mmcblk0", "mmcblk0boot0"], False),
        ("md0", ["sda", "md0"], False),
        ("dm-0", ["sda", "dm-0"], False),
        ("PhysicalDrive0", ["PhysicalDrive0", "PhysicalDrive1"], False),
        ("p1", ["p1"], False),
    ],
)
def test_a_partition_is_what_its_disk_counts_already(name: str, disks: list[str], expected: bool) -> None:
    assert diskio._is_partition(name, dict.fromkeys(disks)) is expected


def test_disks_and_interfaces_whose_names_are_skipped_are_not_read() -> None:
    assert read("diskio", skip=("",)) == []
    assert read("net", skip=("",)) == []


# Processes and the rest


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        (
            b"cpu  1 2 3\nctxt 5\nprocesses 900\nprocs_running 3\nprocs_blocked 1\nsoftirq 7\n",
            {"running": 3.0, "blocked": 1.0},
        ),
        (b"procs_running 12\n", {"running": 12.0}),
        (b"procs_running_fast 12\nprocesses 5", {}),
        (b"", {}),
    ],
)
def test_process_states_come_from_two_lines_of_proc_stat(stat: bytes, expected: dict[str, float]) -> None:
    assert processes.states(stat) == expected


def test_processes_are_counted_every_few_minutes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    one = processes.Probe()
    clock, counted = [0.0], []
    monkeypatch.setattr(processes.time, "monotonic", lambda: clock[0])
    for clock[0] in (1000.0, 1060.0, 1240.0, 1300.0, 1360.0):
        (reading,) = one.read()
        counted.append(reading.fields.get("total", 0.0) >= 1)
        assert reading.fields["running"] >= 1
    assert counted == [True, False, False, True, False]


def test_memory_in_use_is_a_share_of_what_is_there() -> None:
    found = fields("mem")
    assert 0 < found["used"] <= found["total"]
    assert found["used_percent"] == pytest.approx(100 * found["used"] / found["total"], abs=0.01)
    assert 0 <= found["available_percent"] <= 100


def test_the_machine_has_been_on_for_a_while_and_has_processors() -> None:
    found = fields("system")
    assert found["uptime"] > 0
    assert found["n_cpus"] >= 1
