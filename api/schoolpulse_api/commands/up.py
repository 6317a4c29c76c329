"""Run broker, collector, store, API and console in one process until stopped."""

from __future__ import annotations

import argparse

from schoolpulse_api.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """With the demo or without."""
    text = "with this machine's own agent and a simulated lab of 40 PCs, in .demo unless --home or SP_HOME"
    parser.add_argument("--demo", action="store_true", help=text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Until Ctrl-C or SIGTERM."""
    from schoolpulse_api import allinone

    try:
        allinone.up(settings, with_demo=args.demo)
    except KeyboardInterrupt:
        print("  Đã dừng · stopped.", flush=True)
    return 0
