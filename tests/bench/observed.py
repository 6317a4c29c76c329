"""One agent, ours or another, watched for a while: the numbers that all are compared by."""

from __future__ import annotations

import time

from footprint import held, spent
from heard import Heard
from results import Result, result
from running import wait_until

CPU, MEMORY, WAKEUPS = "CPU, a report", "memory, PSS", "wake-ups a second"


def observe(who: str, pid: int, heard: Heard, reports: int, interval: float) -> list[Result]:
    """What it costs over so many of its intervals, from shortly after a report on; ``who: name`` without targets."""
    before = heard.count.reports
    wait_until(lambda: heard.count.reports > before, 3 * interval + 10, f"a report of {who}")
    time.sleep(min(1.0, interval / 4))
    first, sent, began = spent(pid), heard.count, time.monotonic()
    time.sleep(reports * interval)
    taken = time.monotonic() - began
    last, now, holds = spent(pid), heard.count, held(pid)
    cpu, values = 1000 * (last.cpu - first.cpu) / reports, (now.values - sent.values) / reports
    assert values, f"{who} has sent nothing in {taken:.0f} s"
    numbers = [
        (CPU, cpu, "ms"),
        ("values, a report", values, ""),
        ("CPU, a value", 1000 * cpu / values, "µs"),
        ("bytes, a report", (now.size - sent.size) / reports, "B"),
        ("memory, RSS", holds.rss, "MB"),
        (MEMORY, holds.pss, "MB"),
        ("threads", holds.threads, ""),
        ("processes", holds.processes, ""),
        (WAKEUPS, (last.wakeups - first.wakeups) / taken, ""),
        ("ports that can be reached", holds.ports, ""),
        ("written to the disk, a report", (last.written - first.written) / 1000 / reports, "kB"),
        ("CPU before that: start and first reports", 1000 * first.cpu, "ms"),
    ]
    return [result(f"{who}: {name}", value, unit) for name, value, unit in numbers]
