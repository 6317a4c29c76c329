"""Who may do what, with 100,000 devices: enrolment, lists and permission decisions of a whole centre over HTTPS.

    python tests/bench/rights.py

A real centre (`schoolpulse up` with TLS and the embedded broker) over a registry with a city of 3,600 schools, once on
SQLite, once on PostgreSQL. Prints a table and writes ``bench/rights.json``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import city
from results import FOLDER, Result, machine, milliseconds, report, result, spread
from running import PostgreSQL
from served import Centre

from schoolpulse_api.access import Access
from schoolpulse_collector.registry import Registry, rights
from schoolpulse_collector.registry.model import Grant

ENROLMENTS_A_SECOND, PAGE_MS, DECISION_US = 100.0, 100.0, 50.0  # what was asked for
CLIENTS = 4
DECISIONS = 100_000
DAY = "2026-09-01"
PLACES: dict[str, tuple[str, str | None, str | None]] = {  # whose view: role, unit, school
    "one school": ("viewer", None, "s0000"),
    "a ward of 20 schools": ("viewer", "w0", None),
    "a cluster of 225 schools": ("area_it", "c0", None),
    "the city by its unit": ("viewer", "city", None),
    "everywhere": ("viewer", None, None),
}


def lists(centre: Centre, runs: int) -> list[Result]:
    """Pages of devices and the list of schools, for views of different width."""
    found = []
    for name, place in PLACES.items():
        web = centre.web(centre.token(*place))
        pages = milliseconds(lambda web=web: web.get("/api/v1/devices?limit=100"), runs)  # type: ignore[misc]
        found += spread(f"page of 100 devices, {name}", pages, PAGE_MS)
        schools = milliseconds(lambda web=web: web.get("/api/v1/schools"), max(3, runs // 10))  # type: ignore[misc]
        found.append(spread(f"list of schools, {name}", schools)[0])
    return found


def requests(centre: Centre, runs: int) -> list[Result]:
    """What finding out who asks adds to a small request."""
    path, found = "/api/v1/devices/d0000000000000000", []
    for name, place in (("one school", PLACES["one school"]), ("the city by its unit", PLACES["the city by its unit"])):
        web = centre.web(centre.token(*place))
        found += spread(f"one device, {name}, caller known", milliseconds(lambda web=web: web.get(path), runs))[:1]  # type: ignore[misc]
        webs = [centre.web(centre.token(*place)) for _ in range(max(3, runs // 5))]
        for each in webs:
            each.connect()
        new = iter(webs)
        times = milliseconds(lambda new=new: next(new).get(path), len(webs) - 1)  # type: ignore[misc]
        found += spread(f"one device, {name}, caller new", times)[:1]
    return found


def decisions(registry: Registry, tokens: dict[str, str], runs: int) -> list[Result]:
    """In this process: what rights cost to build and to ask."""
    found = []
    with registry.read() as session:
        for name, (role, unit, school) in PLACES.items():
            grant = Grant(role=role, unit=unit, school=school)
            times = milliseconds(lambda g=grant: rights.of(session, [g], DAY), runs)  # type: ignore[misc]
            found.append(spread(f"rights built, {name}", times)[0])
        wide = rights.of(session, [Grant(role="viewer", unit="city")], DAY)
    access = Access(registry, "Asia/Ho_Chi_Minh")

    def look(token: str) -> None:
        access.forget()
        access.caller("token", token)

    for name, token in tokens.items():
        found.append(spread(f"caller looked up, {name}", milliseconds(lambda t=token: look(t), runs))[0])  # type: ignore[misc]
    schools = [f"s{number * 7 % 5000:04}" for number in range(DECISIONS)]
    start = time.perf_counter()
    for school in schools:
        wide.may("viewer", school)
    each = (time.perf_counter() - start) / DECISIONS * 1e6
    return [*found, result("permission decision", each, "µs", DECISION_US)]


def measure(kind: str, url: str, size: tuple[int, int, int, int]) -> list[Result]:
    """Everything on one database."""
    devices, schools, enrolments, runs = size
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        centre = Centre(Path(folder), url)
        city.fill(centre.registry, devices, schools)
        centre.start()
        parts.callback(centre.stop)
        found = lists(centre, runs) + requests(centre, runs)
        tokens = {name: centre.token(*PLACES[name]) for name in ("one school", "the city by its unit")}
        found += decisions(centre.registry, tokens, runs)
        for csr in (False, True):
            name = "enrolments" + (", each with a certificate" if csr else "")
            cpu = centre.cpu()
            rate, times = centre.enrol(enrolments, CLIENTS, csr=csr)
            found.append(result(name, rate, "1/s", None if csr else ENROLMENTS_A_SECOND))
            found.append(result(f"{name}: CPU of the centre, each", (centre.cpu() - cpu) / len(times) * 1000, "ms"))
            found += spread(f"{name}: one of {CLIENTS} at once", times)
    return [Result(f"{kind}: {each.name}", each.value, each.unit, each.target, each.ok) for each in found]


def main() -> int:
    """0: every target is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--schools", type=int, default=3_600)
    parser.add_argument("--enrolments", type=int, default=600, help="in each of two runs")
    parser.add_argument("--runs", type=int, default=200, help="requests of each kind")
    parser.add_argument("--registry", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--out", type=Path, default=FOLDER / "rights.json")
    asked = parser.parse_args()
    on, results = machine(), list[Result]()
    size = (asked.devices, asked.schools, asked.enrolments, asked.runs)
    if asked.registry != "postgresql":
        results += measure("SQLite", "", size)
    if asked.registry != "sqlite":
        server = PostgreSQL(fsync=True)
        try:
            results += measure("PostgreSQL", server.database(), size)
        finally:
            server.stop()
    title = f"{asked.devices} devices in {asked.schools} schools, {city.PEOPLE} people with grants"
    return report(title, results, asked.out, on | {"devices": asked.devices, "schools": asked.schools})


if __name__ == "__main__":
    sys.exit(main())
