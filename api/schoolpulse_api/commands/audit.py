"""Check that the record of changes is whole, or write it out."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path

from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Registry, audit

FIELDS = ("seq", "t", "actor", "action", "subject", "school", "detail", "hash")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Verify or export."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "verify", help="is every row as it was written? Prints the newest hash: keep it elsewhere"
    )
    check.add_argument("--hash", metavar="HASH", help="a hash printed earlier: must still be in the chain")
    export = actions.add_parser("export", help="one JSON object a line")
    export.add_argument("file", nargs="?", type=Path, help="where to; left out: standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Exit code 1 if the chain is broken."""
    registry = Registry(settings.registry_url)
    try:
        return _export(registry, args.file) if args.action == "export" else _verify(registry, args.hash)
    finally:
        registry.close()


def _verify(registry: Registry, known: str | None) -> int:
    with registry.read() as session:
        rows, newest, broken = audit.verify(session)
        lost = known is not None and known != audit.START and not audit.has(session, known)
    if broken:
        print(f"✗ {rows} hàng nguyên vẹn, sau đó hỏng · rows hold, then it breaks: {broken.why}")
    elif lost:
        print(f"✗ {rows} hàng liền nhau, nhưng không có mã băm đã lưu · the rows hold, but {known} is not among them:")
        print("  sổ đã bị viết lại · the record was rewritten")
    else:
        print(f"✓ {rows} hàng nguyên vẹn · rows hold; mã băm cuối · newest hash: {newest}")
    return 1 if broken or lost else 0


def _export(registry: Registry, file: Path | None) -> int:
    with registry.read() as session, file.open("w", encoding="utf-8") if file else nullcontext(sys.stdout) as out:
        for row in audit.rows(session):
            line = {name: getattr(row, name) for name in FIELDS}
            out.write(json.dumps(line | {"detail": json.loads(row.detail)}, ensure_ascii=False) + "\n")
    return 0
