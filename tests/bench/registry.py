"""How long the registry takes with 100,000 devices, on SQLite and PostgreSQL: prints a table, writes registry.json.

python tests/bench/registry.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import city
from results import FOLDER, machine, milliseconds, report, result
from running import PostgreSQL

from schoolpulse_collector.registry import Registry, audit
from schoolpulse_collector.roster import Roster

PAGE, ENROLMENTS, REPEATS = 100, 300, 7


def middle_of(work: Callable[[], object]) -> float:
    """Median milliseconds."""
    return statistics.median(milliseconds(work, REPEATS))


def measure(kind: str, url: str, devices: int, schools: int) -> list[tuple[str, float, str, float | None]]:
    """(name, value, unit, target) of everything that is measured on one database."""
    registry, found = Registry(url), list[tuple[str, float, str, float | None]]()
    city.fill(registry, devices, schools)
    keys = [f"s{number:04}" for number in range(schools)]
    for count in (1, 20, schools):
        some = keys[:: schools // count][:count]
        found.append((f"page, {count} schools", middle_of(lambda s=some: registry.devices(s, limit=PAGE)), "ms", 100))
        middle = registry.devices(some, limit=devices)[devices * count // schools // 2].id
        page = middle_of(lambda s=some, m=middle: registry.devices(s, m, PAGE))
        found.append((f"page in the middle, {count} schools", page, "ms", 100))
        found.append((f"count, {count} schools", middle_of(lambda s=some: registry.count_devices(s)), "ms", 100))
    found.append(("page, all", middle_of(lambda: registry.devices(None, limit=PAGE)), "ms", 100))
    found.append(("count, all", middle_of(registry.count_devices), "ms", 100))
    roster = Roster(registry)
    start = time.perf_counter()
    roster.follow()
    found.append(("roster's first load", (time.perf_counter() - start) * 1000, "ms", None))
    found.append(("roster.follow, nothing changed", middle_of(roster.follow), "ms", 5))
    start = time.perf_counter()
    for number in range(ENROLMENTS):
        registry.enrol(f"e{number}", "s0000", "r0000", "M", "lab_pc")
    found.append(("enrolments", ENROLMENTS / (time.perf_counter() - start), "1/s", 50))
    start = time.perf_counter()
    with registry.read() as session:
        rows = audit.verify(session)[0]
    found.append(("audit rows verified", rows / (time.perf_counter() - start), "1/s", None))
    registry.close()
    return [(f"{kind}: {name}", value, unit, target) for name, value, unit, target in found]


def main() -> int:
    """Measure both, print and write the report; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--schools", type=int, default=3_600)
    parser.add_argument("--out", type=Path, default=FOLDER / "registry.json")
    asked = parser.parse_args()
    on, devices, schools = machine(), asked.devices, asked.schools
    server = PostgreSQL(fsync=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure("SQLite", f"sqlite:///{folder}/registry.sqlite", devices, schools)
        found += measure("PostgreSQL", server.database(), devices, schools)
    finally:
        server.stop()
    results = [result(*each) for each in found]
    title = f"the registry with {devices} devices in {schools} schools"
    return report(title, results, asked.out, on | {"devices": devices, "schools": schools})


if __name__ == "__main__":
    sys.exit(main())
