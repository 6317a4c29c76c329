"""What a program costs the machine: CPU, memory, wake-ups, ports and writes of a process and all its children.

From ``/proc`` and the kernel's clocks; Linux only.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

GONE = (psutil.NoSuchProcess, OSError)  # it has ended since we found it


@dataclass(frozen=True)
class Spent:
    """What a program has used since its start."""

    cpu: float  # seconds; those of ended children to 10 ms
    wakeups: int  # voluntary context switches of the threads that live
    written: int  # bytes given to the disk; files in memory are none


@dataclass(frozen=True)
class Held:
    """What a program holds now."""

    rss: float  # MB (10^6 bytes) resident
    pss: float  # MB, what is shared with others counted in part
    threads: int
    processes: int
    ports: int  # that anybody may connect or send to


def spent(pid: int) -> Spent:
    """Of the process and its children, those included that have ended."""
    cpu, wakeups, written = 0.0, 0, 0
    for process in _tree(pid):
        with suppress(*GONE):
            times = process.cpu_times()
            cpu += _clock(process.pid) + times.children_user + times.children_system
            for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
                wakeups += _number(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)
            written += _number(r"\bwrite_bytes: (\d+)", Path(f"/proc/{process.pid}/io"))
    return Spent(cpu, wakeups, written)


def held(pid: int) -> Held:
    """Of the process and the children that it has."""
    rss, pss, threads, processes, ports = 0, 0, 0, 0, 0
    for process in _tree(pid):
        with suppress(*GONE):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup")
            rss += _number(r"\nRss:\s+(\d+) kB", rollup)
            pss += _number(r"\nPss:\s+(\d+) kB", rollup)
            threads += process.num_threads()
            processes += 1
            ports += sum(_listens(each) for each in process.net_connections("inet"))
    return Held(rss * 1024 / 1e6, pss * 1024 / 1e6, threads, processes, ports)


def unshared_python(pid: int) -> float:
    """MB of PSS that a process would have more if no other ran Python: with some that do, PSS flatters it."""
    more, path = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)", line):
            path = head[1]
        elif "/python" in path and (size := re.match(r"(Rss|Pss):\s+(\d+) kB", line)):
            more += int(size[2]) if size[1] == "Rss" else -int(size[2])
    return more * 1024 / 1e6


def touched(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder in it, with its size and when it was changed: equal if nothing was touched."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def _clock(pid: int) -> float:
    """Seconds of CPU of all threads of one process, to the nanosecond: its clock by clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def _number(pattern: str, path: Path) -> int:
    found = re.search(pattern, path.read_text())
    return int(found[1]) if found else 0


def _listens(each: Any) -> bool:
    """TCP that listens, or UDP on a port that was chosen: one that the kernel gave is there to send from."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    given = not each.laddr or first <= each.laddr.port <= last
    return each.status == psutil.CONN_LISTEN or (each.type == socket.SOCK_DGRAM and not each.raddr and not given)
