"""The command line of the server: ``schoolpulse up | init | enrol ...``, each a file in ``commands/``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import signal
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from schoolpulse_api import __version__, settings
from schoolpulse_api import commands as package
from schoolpulse_collector.registry import Refused, RegistryDown
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
        return _done(args, found)
    except KeyboardInterrupt:
        return 0
    except (settings.SettingsError, RegistryDown, Refused, StoreDown, OSError, ValueError, SQLAlchemyError) as why:
        print(f"schoolpulse: {_said(why)}", file=sys.stderr)
        return 2 if isinstance(why, settings.SettingsError) else 1


def _done(args: argparse.Namespace, found: settings.Settings) -> int:
    """The command's exit code. Raises what it raises, but says so where it was only looked for in the wrong folder."""
    try:
        return int(args.command(args, found))
    except RegistryDown:
        if found.registry or found.home.exists():
            raise
        hint = "name the centre's folder by --home or SP_HOME, or make one: schoolpulse init"
        raise settings.SettingsError(f"{found.home}: there is no such folder; {hint}") from None


def _said(why: Exception) -> str:
    """One line: a file's error without its number, a database's without the statement."""
    if isinstance(why, OSError) and why.filename and why.strerror:
        return f"{why.filename}: {why.strerror}"
    return str(getattr(why, "orig", None) or why)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="schoolpulse", description="The centre that watches the schools' hardware.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--home", type=Path, metavar="FOLDER", help="folder for everything that is kept (or SP_HOME)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(package.__path__):
        command = importlib.import_module(f"{package.__name__}.{found.name}")
        text = (command.__doc__ or "").strip()
        made = commands.add_parser(found.name, help=text, description=text)
        made.add_argument("--home", type=Path, metavar="FOLDER", default=argparse.SUPPRESS, help="as above")
        command.arguments(made)
        made.set_defaults(command=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
