"""Print a new one-time sign-in link, by default for the first administrator."""

from __future__ import annotations

import argparse

from schoolpulse_api.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """For whom."""
    parser.add_argument("login", nargs="?", default="admin", help="whom it signs in (default: admin)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Good once, for twelve hours."""
    from schoolpulse_api import serving
    from schoolpulse_collector.registry import Registry

    serving.require_centre(settings)
    registry = Registry(settings.registry_url)
    try:
        print(serving.sign_in_link(settings, registry, args.login))
    finally:
        registry.close()
    return 0
