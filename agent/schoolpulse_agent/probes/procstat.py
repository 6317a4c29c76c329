"""How much chosen programs use: only those whose names stand in the machine's own file; no other name is sent.

No command line, path, window title or user of a process is read.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("procstat", "cpu_usage"): Metric(
        "%", "Chosen program: use of one processor", "Chương trình được chọn: mức dùng một bộ xử lý", "12.5"
    ),
    ("procstat", "memory_rss"): Metric(
        "B", "Chosen program: memory in use", "Chương trình được chọn: bộ nhớ RAM đang dùng", "734003200"
    ),
    ("procstat", "num_threads"): Metric("1", "Chosen program: threads", "Chương trình được chọn: số luồng", "42"),
    ("procstat", "pid_count"): Metric("1", "Chosen program: processes", "Chương trình được chọn: số tiến trình", "6"),
}
TAGS = {
    ("procstat", "process_name"): Tag(
        "Name of a program, as it stands in this machine's own list",
        "Tên chương trình, đúng như trong danh sách của riêng máy này",
        "firefox-esr",
    )
}
WHY = Why(
    "Shows whether a program that the school names (its lab software, its antivirus) makes machines slow.",
    "Cho biết phần mềm do trường chỉ định (phần mềm phòng máy, diệt virus) có làm chậm máy không.",
)
PROC = Path("/proc")
COMM = 15  # bytes of a name that Linux keeps (TASK_COMM_LEN - 1, proc(5))


class Use(NamedTuple):
    """What one process has used."""

    began: float  # tells it from another that got its number later
    seconds: float  # of a processor, since it began
    rss: float
    threads: float


def parse_stat(stat: bytes, ticks: float, page: float) -> Use:
    """One process of /proc/<pid>/stat (proc(5)); raises ValueError. Its own name may hold spaces and brackets."""
    rest = stat[stat.rfind(b")") + 1 :].split()
    if len(rest) < 22:
        raise ValueError("not a process's stat")
    used = (int(rest[11]) + int(rest[12])) / ticks
    return Use(float(rest[19]), used, int(rest[21]) * page, float(rest[17]))


def of_linux(names: tuple[str, ...], proc: Path = PROC) -> dict[str, dict[int, Use]]:
    """The processes of these names, by name and number. A longer name than Linux keeps is compared as far as it goes.

    Two listed names that begin with the same 15 bytes can't be told apart: both count under the first.
    """
    wanted: dict[bytes, str] = {}
    for name in names:
        wanted.setdefault(name.encode()[:COMM], name)
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found: dict[str, dict[int, Use]] = {}
    for number in filter(str.isdigit, os.listdir(proc)):  # noqa: PTH208 - hundreds of Path objects cost more
        folder = f"{proc}/{number}"
        try:
            listed = wanted.get(_bytes(f"{folder}/comm").rstrip(b"\n"))
            if listed is not None:
                found.setdefault(listed, {})[int(number)] = parse_stat(_bytes(f"{folder}/stat"), ticks, page)
        except (OSError, ValueError):  # it has ended since
            continue
    return found


def _bytes(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1024)
    finally:
        os.close(file)


def of_others(names: tuple[str, ...]) -> dict[str, dict[int, Use]]:
    """The same by psutil, where there is no /proc; on Windows a name is as the Task Manager's details show it."""
    import psutil

    found: dict[str, dict[int, Use]] = {}
    for process in psutil.process_iter():
        try:
            name = process.name()
            if name not in names:
                continue
            with process.oneshot():
                cpu = process.cpu_times()
                used = float(cpu.user + cpu.system)
                one = Use(process.create_time(), used, float(process.memory_info().rss), float(process.num_threads()))
            found.setdefault(name, {})[process.pid] = one
        except psutil.Error:  # it has ended since, or is not ours to ask
            continue
    return found


@dataclass
class Probe:
    """The listed programs that use most, all processes of one name together; ``names``: which, none unless listed.

    ``top``: so many by memory and so many by processor. On Linux a name is the process's own (``ps -o comm``).
    """

    every: float = 300.0
    names: tuple[str, ...] = ()
    top: int = 5
    _last: dict[tuple[str, int], Use] = field(default_factory=dict, init=False, repr=False)
    _then: float = field(default=0.0, init=False, repr=False)

    local: ClassVar[tuple[str, ...]] = ("names",)
    patience: ClassVar[float] = 0.0 if sys.platform == "linux" else 30.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading a program that runs, with tag ``process_name``; how busy it is from the second read on."""
        names = tuple(name for name in self.names if name)
        if not names:
            return
        now, found = time.monotonic(), of_linux(names) if sys.platform == "linux" else of_others(names)
        passed, self._then = now - self._then, now
        groups = {name: self._sum(name, uses, passed) for name, uses in found.items()}
        self._last = {(name, pid): use for name, uses in found.items() for pid, use in uses.items()}
        shown: set[str] = set()
        for what in ("memory_rss", "cpu_usage"):
            shown.update(sorted(groups, key=lambda name: (-groups[name].get(what, 0.0), name))[: max(0, self.top)])
        for name in sorted(shown):
            yield Reading("procstat", {"process_name": name}, groups[name])

    def _sum(self, name: str, uses: dict[int, Use], passed: float) -> dict[str, float]:
        fields = {
            "memory_rss": float(sum(use.rss for use in uses.values())),
            "num_threads": float(sum(use.threads for use in uses.values())),
            "pid_count": float(len(uses)),
        }
        if self._last and passed > 0:
            fields["cpu_usage"] = round(100 * sum(self._step(name, *each) for each in uses.items()) / passed, 2)
        return fields

    def _step(self, name: str, pid: int, use: Use) -> float:
        """Seconds of a processor since the last read; of a process that is new, all."""
        last = self._last.get((name, pid))
        return max(0.0, use.seconds - (last.seconds if last and last.began == use.began else 0.0))
