"""What the probes that are read for each report make of Linux's own tables, beside what psutil says."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import probe, proc
from schoolpulse_agent.probes import cpu, disk, diskio, mem, net, swap, system

MEMINFO = b"""MemTotal:        8000000 kB
MemFree:         1000000 kB
MemAvailable:    5000000 kB
Buffers:          200000 kB
Cached:          3000000 kB
SwapCached:            0 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
SReclaimable:     100000 kB
"""
DEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
  eth0: 900 80 1 2 0 0 0 7 500 40 3 4 0 5 6 0
eth0:1: 9 8 0 0 0 0 0 0 7 6 0 0 0 0 0 0
broken: 1 2
"""


# The processor, memory, swap


def test_ticks_come_from_the_first_line_of_proc_stat_without_guests() -> None:
    said = cpu.parse_stat(b"cpu  10 1 5 80 4 0 2 1 7 0\ncpu0 10 1 5 80 4 0 2 1 7 0\n")
    expected = {"user": 10, "nice": 1, "system": 5, "idle": 80, "iowait": 4, "irq": 0, "softirq": 2, "steal": 1}
    assert said == expected


def test_a_proc_stat_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="cpu"):
        cpu.parse_stat(b"intr 1 2 3\n")


def test_memory_in_use_is_what_neither_is_free_nor_serves_as_cache() -> None:
    kib = {"total": 8e6, "available": 5e6, "free": 1e6, "cached": 3.1e6, "buffered": 2e5, "used": 3.7e6}
    assert mem.parse_meminfo(MEMINFO) == {name: value * 1024 for name, value in kib.items()}


def test_before_linux_told_what_is_available_it_is_estimated() -> None:
    old = b"".join(line for line in MEMINFO.splitlines(True) if not line.startswith(b"MemAvailable"))
    assert mem.parse_meminfo(old)["available"] == (1e6 + 3.1e6 + 2e5) * 1024


@given(st.binary(max_size=300))
def test_a_meminfo_without_memory_is_an_error_and_nothing_else(text: bytes) -> None:
    with pytest.raises(ValueError, match="no memory"):
        mem.parse_meminfo(text.replace(b"MemTotal", b"x"))


def test_swap_counts_bytes_and_what_goes_in_and_out_by_pages() -> None:
    found = swap.parse(MEMINFO, b"nr_free_pages 9\npswpin 3\npswpout 4\npswpin_more 5\n", 4096)
    expected = {"total": 2e6 * 1024, "used": 5e5 * 1024, "free": 1.5e6 * 1024, "in": 3.0 * 4096, "out": 4.0 * 4096}
    assert found == expected


def test_a_machine_without_swap_uses_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "read", lambda _: b"SwapTotal: 0 kB\nSwapFree: 0 kB\n")
    (reading,) = swap.Probe().read()
    assert reading.fields["used_percent"] == 0.0


def test_memory_and_swap_are_what_psutil_says() -> None:
    (found,) = mem.Probe().read()
    theirs = psutil.virtual_memory()
    assert found.fields["total"] == theirs.total
    assert found.fields["available"] == pytest.approx(theirs.available, rel=0.05)
    (found,) = swap.Probe().read()
    assert (found.fields["total"], found.fields["used_percent"]) == (
        psutil.swap_memory().total,
        pytest.approx(psutil.swap_memory().percent, abs=1),
    )


# Disks


def test_a_disks_counters_are_in_bytes_and_milliseconds() -> None:
    line = b"   8       0 sda 100 5 2000 30 50 6 4000 70 0 80 110 0 0 0 0 7 8\n   8  1 sda1 1 2\n"
    assert diskio.parse_diskstats(line) == {
        "sda": {
            "reads": 100,
            "writes": 50,
            "read_bytes": 2000 * 512,
            "write_bytes": 4000 * 512,
            "read_time": 30,
            "write_time": 70,
            "io_time": 80,
        }
    }


def test_disk_counters_are_those_of_psutil() -> None:
    ours, theirs = diskio._disks(), psutil.disk_io_counters(perdisk=True)
    assert set(theirs) <= set(ours)
    for name, io in theirs.items():
        assert ours[name]["write_bytes"] <= io.write_bytes
        assert ours[name]["reads"] == pytest.approx(io.read_count, rel=0.2, abs=100)


def test_a_mount_may_have_spaces_in_its_name_and_be_read_only() -> None:
    text = b"/dev/sda1 / ext4 rw,errors=remount-ro 0 0\nshort\n"
    text += b"/dev/sdb1 /mnt/\304\221\304\251a\\040D NTFS3 ro,nosuid 0 0\n"
    assert list(disk.parse_mounts(text)) == [
        ("/dev/sda1", "/", "ext4", False),
        ("/dev/sdb1", "/mnt/đĩa D", "ntfs3", True),
    ]


def test_network_and_fuse_mounts_and_what_lies_under_a_persons_name_are_never_asked() -> None:
    named = ["/media/nguyen.van.an/USB", "/run/media/an/USB", "/home/an", "/Users/an", "/Volumes/An"]
    named += ["/tank/home/an", "/srv/Home/an/data", "/var/home/an"]
    mounts = [disk.Mount(f"/dev/sd{n}", path, "ext4", False) for n, path in enumerate([*named, "/", "/home"])]
    mounts += [disk.Mount(f"x{kind}", f"/{kind}", kind, False) for kind in ("nfs4", "cifs", "fuse.sshfs", "fuseblk")]
    mounts += [disk.Mount(f"/dev/sd{len(named)}", "/bind", "ext4", False)]  # the same disk as /
    assert [mount.path for mount in disk.chosen(mounts, disk.LOCAL)] == ["/", "/home"]


def test_a_disk_that_was_remounted_read_only_says_so() -> None:
    assert disk.usage(disk.Mount("x", "/", "ext4", read_only=True)).fields["read_only"] == 1.0


def test_a_disk_is_as_full_as_psutil_says() -> None:
    theirs, found = psutil.disk_usage("/"), disk.usage(disk.Mount("x", "/", "ext4", read_only=False)).fields
    assert found["total"] == theirs.total
    assert found["used_percent"] == pytest.approx(theirs.percent, abs=0.5)


def test_where_no_disk_is_listed_the_root_file_system_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "read", lambda _: b"proc /proc proc rw 0 0\n")
    (reading,) = probe.probe_class("disk")().read()
    assert reading.tags == {"path": "/", "fstype": "rootfs"} and reading.fields["total"] > 0


# Network


def test_counters_of_a_card_come_from_their_columns() -> None:
    assert net.parse_dev(DEV, ("lo",)) == {
        "eth0": {
            "bytes_recv": 900,
            "packets_recv": 80,
            "err_in": 1,
            "drop_in": 2,
            "bytes_sent": 500,
            "packets_sent": 40,
            "err_out": 3,
            "drop_out": 4,
        },
        "eth0:1": {
            "bytes_recv": 9,
            "packets_recv": 8,
            "err_in": 0,
            "drop_in": 0,
            "bytes_sent": 7,
            "packets_sent": 6,
            "err_out": 0,
            "drop_out": 0,
        },
    }


@pytest.mark.parametrize(
    ("carrier", "speed", "expected"),
    [
        (b"1", b"1000", {"up": 1.0, "speed": 1000.0}),
        (b"1", b"-1", {"up": 1.0}),
        (b"1", b"65535", {"up": 1.0}),
        (b"1", b"4294967295", {"up": 1.0}),
        (b"1", b"", {"up": 1.0}),  # Wi-Fi: the kernel refuses to say
        (b"0", b"1000", {"up": 0.0}),
        (b"", b"", {"up": 0.0}),  # switched off
    ],
)
def test_a_link_says_its_speed_only_where_it_knows_it(
    monkeypatch: pytest.MonkeyPatch, carrier: bytes, speed: bytes, expected: dict[str, float]
) -> None:
    monkeypatch.setattr(proc, "read", lambda _: DEV)
    monkeypatch.setattr(proc, "once", lambda path: carrier if path.endswith("carrier") else speed)
    (first, *_) = net.Probe(skip=("lo", "eth0:")).read()
    assert {name: value for name, value in first.fields.items() if name in ("up", "speed")} == expected


def test_the_same_cards_are_read_as_psutil_reads() -> None:
    skip = net.Probe().skip
    assert set(net._of_linux(skip)) == set(net._of_psutil(skip))


# The machine


def test_sessions_are_counted_by_the_type_of_their_records_alone() -> None:
    def record(kind: int) -> bytes:
        return kind.to_bytes(2, "little") + b"\0" * 42 + b"nguyenvana".ljust(32, b"\0") + b"\0" * 308

    assert system.sessions(record(2) + record(7) + record(8) + record(7)) == 2
    assert system.sessions(record(7)[:-1]) == 0


def test_time_asleep_is_what_one_clock_of_the_kernel_counts_and_the_other_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = {system.time.CLOCK_BOOTTIME: 9000.0, system.time.CLOCK_MONOTONIC: 5400.0}
    monkeypatch.setattr(system.time, "clock_gettime", clocks.__getitem__)
    (reading,) = system.Probe().read()
    assert (reading.fields["uptime"], reading.fields["asleep"]) == (9000.0, 3600.0)


def clock_of_windows(milliseconds: int) -> Any:
    """A function of kernel32 as ctypes shows it, which takes ``restype`` and a reference."""

    def ask(reference: Any = None) -> int:
        if reference is not None:
            reference._obj.value = milliseconds * 10_000
        return milliseconds

    return ask


def test_on_windows_time_asleep_is_the_difference_of_two_clocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(
        GetTickCount64=clock_of_windows(9_000_000), QueryUnbiasedInterruptTime=clock_of_windows(5_400_000)
    )
    monkeypatch.setattr(system.proc, "LINUX", False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    (reading,) = system.Probe().read()
    assert reading.fields["asleep"] == 3600.0
    assert reading.fields["uptime"] > 0


# Any bytes


@given(st.binary(max_size=400) | st.text("0129   :\n-a", min_size=20, max_size=200).map(str.encode))
def test_no_table_however_broken_raises(text: bytes) -> None:
    list(disk.parse_mounts(text))
    net.parse_dev(text, ())
    diskio.parse_diskstats(text)
    system.sessions(text)
    swap.parse(text, text, 4096)


# The reader


def test_a_file_of_proc_is_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "NOW", 0.0)
    file = tmp_path / "stat"
    file.write_bytes(b"one")
    assert proc.read(str(file)) == b"one"
    file.write_bytes(b"two, longer")
    assert proc.read(str(file)) == b"two, longer"
    file.write_bytes(b"x" * 200_000)
    assert len(proc.read(str(file))) == 200_000


def test_two_probes_of_one_report_share_a_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(proc.time, "monotonic", lambda: now[0])
    file = tmp_path / "meminfo"
    file.write_bytes(b"one")
    assert proc.read(str(file)) == b"one"
    file.write_bytes(b"two")
    assert proc.read(str(file)) == b"one"
    now[0] += 2 * proc.NOW
    assert proc.read(str(file)) == b"two"


def test_a_file_that_may_go_away_is_not_kept_open(tmp_path: Path) -> None:
    file = tmp_path / "carrier"
    file.write_bytes(b" 1\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert proc.once(str(file)) == b"1"
    file.unlink()
    assert proc.once(str(file)) == b""
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"pswpin 12\n", 12),
        (b"nr_x 1\npswpin   7", 7),
        (b"nr_pswpin 1\npswpinned 2\n", None),
        (b"pswpin\n", None),
        (b"pswpin twelve\n", None),
        (b"", None),
    ],
)
def test_a_number_is_found_by_the_name_that_begins_its_line(text: bytes, expected: int | None) -> None:
    assert proc.number(text, b"pswpin") == expected
