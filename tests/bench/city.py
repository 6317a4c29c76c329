"""A city to measure with: units, schools, devices, people and their grants, straight into the registry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Device, Grant, Membership, Person, Room, School, Unit

CLUSTERS, SCHOOLS_OF_A_WARD, PEOPLE = 16, 20, 500
FIRST = 1000  # number of the first person: the administrator has a lower one


def fill(registry: Registry, devices: int, schools: int) -> None:
    """A city of 16 clusters and of wards of 20 schools; schools with a room and their share of the devices each.

    One school of a hundred was merged into another. 500 people: a handful in charge of all, the others of a cluster,
    a ward or one school.
    """
    numbers, wards = range(schools), range(-(-schools // SCHOOLS_OF_A_WARD))
    units = [{"key": "city", "name": "Thành phố", "kind": "city", "parent": None}]
    units += [{"key": f"c{n}", "name": f"Cụm {n}", "kind": "cluster", "parent": "city"} for n in range(CLUSTERS)]
    units += [{"key": f"w{n}", "name": f"Phường {n}", "kind": "ward", "parent": "city"} for n in wards]
    rows: dict[type[Any], list[dict[str, Any]]] = {
        Unit: units[:1],
        School: [{"key": f"s{n:04}", "name": f"Trường {n}", "merged_into": _heir(n)} for n in numbers],
        Room: [{"key": f"r{n:04}", "school": f"s{n:04}", "name": "Phòng máy"} for n in numbers],
        Device: [_device(n, n % schools) for n in range(devices)],
        Person: [{"id": FIRST + n, "login": f"p{n}", "name": f"Người {n}", "created": 1} for n in range(PEOPLE)],
    }
    belongs = [(n, f"c{n % CLUSTERS}") for n in numbers] + [(n, f"w{n // SCHOOLS_OF_A_WARD}") for n in numbers]
    with registry.change("system") as change:
        for table, values in rows.items():
            change.session.bulk_insert_mappings(table, values)  # type: ignore[arg-type]
        change.session.bulk_insert_mappings(Unit, units[1:])  # type: ignore[arg-type]
        members = [{"school": f"s{school:04}", "unit": unit} for school, unit in belongs]
        change.session.bulk_insert_mappings(Membership, members)  # type: ignore[arg-type]
        grants = [_grant(n, schools, len(wards)) for n in range(PEOPLE)]
        change.session.bulk_insert_mappings(Grant, grants)  # type: ignore[arg-type]
        for number in range(devices // 5):
            change.note("bench.fill", f"device:{number}", name=f"Máy {number}")
    if registry.engine.dialect.name == "postgresql":  # as its autovacuum does within a minute
        with registry.engine.begin() as connection:
            connection.execute(text("analyze"))


def _heir(number: int) -> str | None:
    return f"s{number - 1:04}" if number % 100 == 99 else None


def _device(number: int, school: int) -> dict[str, Any]:
    id, uuid = number * 2654435761 % 2**64, f"{number:08x}-0000-4000-8000-000000000000"
    row = {"id": f"d{id:016x}", "school": f"s{school:04}", "room": f"r{school:04}", "name": f"Máy {number}"}
    cards = f"02:00:{number >> 24:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    return row | {"kind": "lab_pc", "secret_hash": "$6$x", "changed": 1, "smbios_uuid": uuid, "macs": cards}


def _grant(number: int, schools: int, wards: int) -> dict[str, Any]:
    row: dict[str, Any] = {"person": FIRST + number, "token": None, "unit": None, "school": None, "source": "local"}
    if number < 4:
        return row | {"role": "administrator" if number == 0 else "operator"}
    if number < 4 + CLUSTERS:
        return row | {"role": "area_it", "unit": f"c{number - 4}"}
    if number % 2:
        return row | {"role": "viewer", "unit": f"w{number % wards}"}
    return row | {"role": "technician", "school": f"s{number % schools:04}"}
