"""The command line of the server: ``schoolpulse up | link``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from schoolpulse_api import __version__, settings
from schoolpulse_collector.registry import Registry, RegistryDown
from schoolpulse_collector.store import StoreDown


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 wrong command line or settings."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop is as clean as Ctrl-C
    try:
        if getattr(args, "demo", False):
            os.environ.setdefault("SP_HOME", ".demo")
        found = settings.load(**({"home": args.home} if args.home else {}))
        return int(args.command(args, found))
    except KeyboardInterrupt:
        return 0
    except (settings.SettingsError, RegistryDown, StoreDown, OSError, ValueError, SQLAlchemyError) as why:
        print(f"schoolpulse: {getattr(why, 'orig', None) or why}", file=sys.stderr)
        return 2 if isinstance(why, settings.SettingsError) else 1


def up(args: argparse.Namespace, found: settings.Settings) -> int:
    """Run broker, collector, store, API and console in one process until stopped."""
    from schoolpulse_api import allinone

    try:
        allinone.up(found, with_demo=args.demo)
    except KeyboardInterrupt:
        print("  Đã dừng · stopped.", flush=True)
    return 0


def link(args: argparse.Namespace, found: settings.Settings) -> int:
    """Print a new one-time sign-in link."""
    from schoolpulse_api import allinone

    if not (found.home / allinone.ADDRESS).exists():
        raise settings.SettingsError(f"no centre has run in {found.home}: name its folder with --home or SP_HOME")
    registry = Registry(found.registry_url)
    print(allinone.sign_in_link(found, registry))
    registry.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="schoolpulse", description="The centre that watches the schools' hardware.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--home", type=Path, metavar="FOLDER", help="folder for everything that is kept (or SP_HOME)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (up, link):
        text = (command.__doc__ or "").strip()
        made = commands.add_parser(command.__name__, help=text, description=text)
        made.add_argument("--home", type=Path, metavar="FOLDER", default=argparse.SUPPRESS, help="as above")
        made.set_defaults(command=command)
        if command is up:
            text = "with this machine's own agent and a simulated lab of 40 PCs, in .demo unless --home or SP_HOME"
            made.add_argument("--demo", action="store_true", help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
