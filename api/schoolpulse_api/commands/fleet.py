"""Count agents by version, operating systems with their end of support, and refused configurations."""

from __future__ import annotations

import argparse

from schoolpulse_api.settings import Settings
from schoolpulse_api.table import table
from schoolpulse_collector import support
from schoolpulse_collector.registry import Registry, agents, equipment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose devices."""
    parser.add_argument("school", nargs="?", help="key of a school; left out: all")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Only devices that are active and have said something of themselves are counted."""
    registry = Registry(settings.registry_url)
    schools = frozenset([args.school]) if args.school else None
    try:
        registry.require_school(args.school)
        with registry.read() as session:
            versions, refusals = agents.versions(session, schools), agents.refusals(session, schools)
            systems = equipment.systems(session, schools)
    finally:
        registry.close()
    print(table(["agent", "máy · devices"], [[version, str(count)] for version, count in versions]))
    print()
    rows = [[_named(*said), _ends(*said), str(count)] for *said, count in systems]
    print(table(["hệ điều hành · system", "hỗ trợ đến · supported until", "máy · devices"], rows))
    if refusals:
        print()
        rows = [[*said.partition(" ")[::2], str(count)] for said, count in refusals]
        print(table(["cấu hình bị từ chối · refused", "vì · why", "máy · devices"], rows))
    return 0


def _named(identifier: str, version: str, release: str, name: str) -> str:
    return " ".join(filter(None, (name or f"{identifier} {version}".strip() or "?", release)))


def _ends(*said: str) -> str:
    found = support.of(dict(zip(equipment.OS, said, strict=True)))
    if found is None:
        return "không rõ · unknown"
    return f"{found.ends:%d/%m/%Y}" + (" ✗ hết hạn · ended" if found.ended else "")
