"""Show or change what the centre wants of agents: intervals, pace, probes; everywhere or in one place."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from schoolpulse_api.settings import Settings
from schoolpulse_api.table import table, when
from schoolpulse_collector.registry import SYSTEM, Refused, Registry, configuration, enrolment
from schoolpulse_collector.registry.configuration import Place
from schoolpulse_collector.registry.model import Configuration


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and where."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "all that is wanted, from broad to narrow"
    actions.add_parser("show", help=text, description=text)
    text = "want this besides what is wanted there already"
    made = actions.add_parser("set", help=text, description=text)
    made.add_argument("settings", nargs="+", metavar="SECTION.KEY=VALUE", help="as in agent.toml: reports.interval=120")
    _where(made)
    text = "want nothing more there than of the places above"
    _where(actions.add_parser("clear", help=text, description=text))


def _where(parser: argparse.ArgumentParser) -> None:
    places = parser.add_mutually_exclusive_group()
    for scope in configuration.TABLES:
        places.add_argument(f"--{scope}", metavar="KEY", help=f"only {'' if scope == 'device' else 'in '}this {scope}")
    text = f"only devices of this kind: {', '.join(enrolment.KINDS)}"
    parser.add_argument("--kind", choices=["", *enrolment.KINDS], default="", metavar="KIND", help=text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """A running centre tells the agents within seconds, at most 200 of them a second. Raises Refused, RegistryDown."""
    registry = Registry(settings.registry_url)
    try:
        if args.action == "show":
            return _show(registry, settings.time_zone)
        scope = next((scope for scope in configuration.TABLES if getattr(args, scope)), "centre")
        place = Place(scope, getattr(args, scope, None) or "", args.kind)
        with registry.change(SYSTEM) as change:
            if args.action == "set":
                row = change.session.get(Configuration, place)
                known = json.loads(row.settings) if row else {}
                configuration.put(change, place, configuration.folded([known, parse(args.settings)]))
            elif not configuration.clear(change, place):
                raise Refused("nothing is wanted there: see schoolpulse config show")
        print(f"{_name(place)}: {args.action} ✓")
    finally:
        registry.close()
    return 0


def parse(lines: Sequence[str]) -> dict[str, Any]:
    """``reports.interval=120`` and the like, each a line of TOML. Raises Refused."""
    found: dict[str, Any] = {}
    for line in lines:
        try:
            found = configuration.folded([found, tomllib.loads(line)])
        except tomllib.TOMLDecodeError as why:
            hint = "write SECTION.KEY=VALUE, as reports.interval=120; a text in quotes: 'probe.x.name=\"a\"'"
            raise Refused(f"{line}: {why}; {hint}") from None
    return found


def _show(registry: Registry, zone: str) -> int:
    with registry.read() as session:
        rows = configuration.everything(session)
    if not rows:
        print("Chưa có cấu hình nào · nothing is wanted: every agent follows its own file.")
        return 0
    lines = [[_name(row), row.settings, when(row.changed, zone), row.changed_by] for row in rows]
    print(table(["nơi · place", "cấu hình · settings", "lúc · when", "bởi · by"], lines))
    return 0


def _name(place: Place | Configuration) -> str:
    return " ".join(filter(None, (place.scope, place.key, place.kind)))
