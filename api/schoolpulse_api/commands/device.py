"""Show devices; cut one off, retire or restore it; give copied machines identities of their own."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from schoolpulse_api.settings import Settings
from schoolpulse_collector import clones
from schoolpulse_collector.registry import SYSTEM, Change, Refused, Registry, agents, devices, enrolment
from schoolpulse_collector.registry.model import Device


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which device."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="devices of a school, or of all, with the version of their agent")
    shown.add_argument("school", nargs="?", help="key of the school")
    actions.add_parser("clones", help="device ids that more than one machine uses")
    for name, text in (
        ("revoke", "stolen or lost: cut it off now"),
        ("retire", "out of use; its history stays"),
        ("restore", "found again"),
        ("rekey", "end its secret; each machine that has it gets an identity of its own, by itself"),
        ("same-machine", "not a clone but one machine with a new mainboard or card"),
    ):
        actions.add_parser(name, help=text, description=text).add_argument("device", help="device id: see device list")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """A running centre follows within a second."""
    registry = Registry(settings.registry_url)
    try:
        if args.action == "list":
            registry.require_school(args.school)
            _list(registry, args.school)
        elif args.action == "clones":
            _clones(registry)
        else:
            with registry.change(SYSTEM) as change:
                row = change.session.get(Device, args.device)
                if row is None:
                    raise Refused(f"there is no device {args.device!r}: see schoolpulse device list")
                CHANGES[args.action](change, row)
            print(f"{args.device}: {args.action} ✓")
    finally:
        registry.close()
    return 0


def _rekey(change: Change, row: Device) -> None:
    enrolment.open_rekey(change, row.id)
    clones.settle(change, row.id)


CHANGES: dict[str, Callable[[Change, Device], object]] = {
    "revoke": lambda change, row: devices.set_status(change, row.id, "revoked"),
    "retire": lambda change, row: devices.set_status(change, row.id, "retired"),
    "restore": lambda change, row: devices.set_status(change, row.id, "active"),
    "rekey": _rekey,
    "same-machine": clones.accept,
}


def _list(registry: Registry, school: str | None) -> None:
    after = ""
    while found := registry.devices([school] if school else None, after):
        with registry.read() as session:
            versions = agents.versions_of(session, [row.id for row in found])
        for row in found:
            agent = versions.get(row.id) or "-"
            print(f"{row.id}  {row.status:8}  {agent:8}  {row.school}  {row.room or '-'}  {row.kind}  {row.name}")
        after = found[-1].id


def _clones(registry: Registry) -> None:
    found = clones.of(registry, None)
    for device, rows in found.items():
        for row in rows:
            print(f"{device}  {row.hardware or 'same hardware':16}  {row.count} ×")
    if not found:
        print("Không có máy nhân bản · no clones.")
