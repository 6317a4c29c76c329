"""Load, time since the machine was switched on, and how many people are signed in (a count, never who)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("system", "load1"): Metric("1", "Load, 1 minute", "Tải hệ thống 1 phút", "0.42"),
    ("system", "load5"): Metric("1", "Load, 5 minutes", "Tải hệ thống 5 phút", "0.38"),
    ("system", "load15"): Metric("1", "Load, 15 minutes", "Tải hệ thống 15 phút", "0.31"),
    ("system", "uptime"): Metric("s", "Time since boot", "Thời gian hoạt động liên tục", "18240.5"),
    ("system", "asleep"): Metric("s total", "Time asleep since boot", "Thời gian ngủ từ khi bật máy", "5400"),
    ("system", "n_users"): Metric("1", "Signed-in sessions (count only)", "Số phiên đăng nhập (chỉ đếm)", "1"),
    ("system", "n_cpus"): Metric("1", "Processors", "Số bộ xử lý", "4"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows how busy a machine is and whether it was restarted.",
    "Cho biết máy bận đến mức nào và có vừa khởi động lại không.",
)


UTMP = ("/run/utmp", "/var/run/utmp")
_RECORD, _USER_PROCESS = 384, 7  # bytes of a record of utmp(5) and the type of one that is a session


def sessions(utmp: bytes) -> int:
    """How many of utmp's records are sessions: their types are looked at, never their names (utmp(5))."""
    types = (int.from_bytes(utmp[at : at + 2], "little") for at in range(0, len(utmp) - _RECORD + 1, _RECORD))
    return sum(kind == _USER_PROCESS for kind in types)


def _of_linux() -> dict[str, float]:
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    asleep = uptime - time.clock_gettime(time.CLOCK_MONOTONIC)
    utmp = next(filter(None, (proc.once(path, 384 * 500) for path in UTMP)), b"")
    # The kernel's two clocks are read one after the other: less than a second is no sleep.
    return {"uptime": uptime, "asleep": asleep if asleep >= 1 else 0.0, "n_users": float(sessions(utmp))}


def _of_psutil() -> dict[str, float]:
    import psutil

    found = {"uptime": max(0.0, time.time() - psutil.boot_time()), "n_users": float(len(psutil.users()))}
    if sys.platform == "win32":  # not yet run on a real one
        import ctypes

        awake, kernel = ctypes.c_ulonglong(), ctypes.windll.kernel32
        kernel.GetTickCount64.restype = ctypes.c_ulonglong
        kernel.QueryUnbiasedInterruptTime(ctypes.byref(awake))  # in 100 ns, without sleep; the other in ms, with it
        asleep = kernel.GetTickCount64() / 1e3 - awake.value / 1e7
        found["asleep"] = asleep if asleep >= 1 else 0.0
    return found


def _load() -> tuple[float, float, float]:
    if hasattr(os, "getloadavg"):
        return os.getloadavg()
    import psutil

    return psutil.getloadavg()  # which counts by itself on Windows


@dataclass
class Probe:
    """The machine as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        fields = dict(zip(("load1", "load5", "load15"), _load()))
        fields.update(_of_linux() if proc.LINUX else _of_psutil(), n_cpus=float(os.cpu_count() or 0))
        yield Reading("system", {}, {name: round(value, 2) for name, value in fields.items()})
