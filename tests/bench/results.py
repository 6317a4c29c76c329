"""What all benchmarks share: a measured number beside what it should be, the table, and the file."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

FOLDER = Path(__file__).parents[2] / "bench"
LARGER_IS_BETTER = ("%", "1/s")


@dataclass(frozen=True)
class Result:
    """``target``: what the value must not be worse than; None: nothing was asked for."""

    name: str
    value: float
    unit: str
    target: float | None
    ok: bool


def result(name: str, value: float, unit: str, target: float | None = None) -> Result:
    """A target is a lower bound for what is better when larger (%, 1/s), else an upper one."""
    good = target is None or (value >= target if unit in LARGER_IS_BETTER else value <= target)
    return Result(name, float(f"{value:.4g}"), unit, target, good)


def share(name: str, part: int, whole: int) -> Result:
    """All of them, or it is missed."""
    return result(name, 100 * part / whole, "%", 100)


def milliseconds(work: Callable[[], object], runs: int) -> list[float]:
    """How long each run took, sorted, after one that warms up."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times[1:])


def spread(name: str, times: Sequence[float], target: float | None = None) -> list[Result]:
    """Median and 99th percentile of some milliseconds; both must keep to the target."""
    worst = sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]
    return [
        result(f"{name}, median", statistics.median(times), "ms", target),
        result(f"{name}, 99th percentile", worst, "ms", target),
    ]


def machine() -> dict[str, object]:
    """What it is measured on, and how busy that was before."""
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    known = {"system": platform.platform(), "cores": os.cpu_count(), "memory_gib": memory}
    versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return known | versions | {"load_before": round(os.getloadavg()[0], 2)}


def report(title: str, results: Sequence[Result], path: Path, on: dict[str, object]) -> int:
    """Print the table, write the file; 1 if a target is missed. ``on``: machine and size of the run."""
    print(title)
    for each in results:
        sign = ">=" if each.unit in LARGER_IS_BETTER else "<="
        target = "" if each.target is None else f"{sign} {each.target:g}"
        print(f"  {each.name:62} {each.value:12,.2f} {each.unit:4} {target:>9} {'' if each.ok else 'MISSED'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": on, "results": [asdict(each) for each in results]}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return 0 if all(each.ok for each in results) else 1
