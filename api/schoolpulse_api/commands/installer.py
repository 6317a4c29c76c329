"""Gói cài agent mà trung tâm phát cho các máy · The agent's packages that this centre hands out to machines."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from schoolpulse_api import installers
from schoolpulse_api.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which file."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="những gói đang có · those that are there")
    added = actions.add_parser("add", help="thêm gói .deb hoặc .zip · hand out this .deb or .zip, too")
    added.add_argument("file", type=Path, nargs="+", metavar="FILE", help="as schoolpulse-agent_1.2.3_all.deb")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """A running centre hands them out at once. Raises ValueError, OSError."""
    folder = settings.installers_folder
    if args.action == "add":
        for file in args.file:
            installers.add(folder, file)
    found = [path for kind in installers.KINDS for path in installers.packages(folder, kind)]
    for path in found:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size / 1000:.0f} kB")
    if not found:
        print(f"Chưa có gói nào trong {folder} · no packages there yet: schoolpulse installer add FILE")
    return 0
