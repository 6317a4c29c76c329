"""Load, time since the machine was switched on, and how many people are signed in (a count, never who)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tags, Why

METRICS = {
    ("system", "load1"): Metric("1", "Load, 1 minute", "Tải hệ thống 1 phút", "0.42"),
    ("system", "load5"): Metric("1", "Load, 5 minutes", "Tải hệ thống 5 phút", "0.38"),
    ("system", "load15"): Metric("1", "Load, 15 minutes", "Tải hệ thống 15 phút", "0.31"),
    ("system", "uptime"): Metric("s", "Time since boot", "Thời gian hoạt động liên tục", "18240.5"),
    ("system", "n_users"): Metric("1", "Signed-in sessions (count only)", "Số phiên đăng nhập (chỉ đếm)", "1"),
    ("system", "n_cpus"): Metric("1", "Processors", "Số bộ xử lý", "4"),
}
TAGS: Tags = {}
WHY = Why(
    "Shows how busy a machine is and whether it was restarted.",
    "Cho biết máy bận đến mức nào và có vừa khởi động lại không.",
)


@dataclass
class Probe:
    """The machine as a whole."""

    every: float = 0.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading."""
        load1, load5, load15 = psutil.getloadavg()
        fields = {
            "load1": round(load1, 2),
            "load5": round(load5, 2),
            "load15": round(load15, 2),
            "uptime": round(max(0.0, time.time() - psutil.boot_time()), 1),
            "n_users": float(len(psutil.users())),
            "n_cpus": float(psutil.cpu_count() or 0),
        }
        yield Reading("system", {}, fields)
