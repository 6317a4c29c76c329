"""Make a token that machines of a school enrol with: as a command, a link and a QR code."""

from __future__ import annotations

import argparse

from schoolpulse_api import enrolline, installers
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import SYSTEM, Registry, enrolment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which school, how many machines, how long."""
    parser.add_argument("school", help="key of the school")
    parser.add_argument("--room", metavar="KEY", help="all of them stand in this room")
    parser.add_argument("--uses", type=int, default=40, metavar="N", help="how many machines (default: 40)")
    parser.add_argument("--days", type=float, default=7, metavar="N", help="how long it is good (default: 7)")
    parser.add_argument("--kind", choices=enrolment.KINDS, default="lab_pc", help="what they are (default: lab_pc)")
    parser.add_argument("--label", default="", help="a note for yourself")
    parser.add_argument("--qr", action="store_true", help="show the link as a QR code, too")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print it once; only its hash is kept."""
    if not settings.has_tls:
        raise SettingsError(f"{settings.home} has no CA, so no machine could trust it: run schoolpulse init first")
    authority = Authority.open(settings.tls_folder)
    registry = Registry(settings.registry_url)
    try:
        registry.require_school(args.school)
        with registry.change(SYSTEM) as change:
            more = {"room": args.room, "uses": args.uses, "days": args.days, "kind": args.kind, "label": args.label}
            _, token = enrolment.issue(change, authority.fingerprint, args.school, **more)
    finally:
        registry.close()
    shown = enrolline.line(settings.url, token, authority.ca_pem)
    print(f"{args.uses} máy · machines, {args.days:g} ngày · days. Chạy trên mỗi máy · run on each machine:\n")
    print(f"  Linux (Debian, Ubuntu):\n    {shown.linux}\n")
    print(f"  Windows (PowerShell, quản trị viên · as administrator):\n    {shown.windows}\n")
    print(f"  Đã cài agent · the agent is installed already:\n    {shown.command}\n\n    {shown.link}\n")
    if not any(installers.packages(settings.installers_folder, kind) for kind in installers.KINDS):
        print(
            "! Trung tâm chưa có gói cài nên hai dòng đầu chưa chạy được · no package yet, so the first two lines fail:"
        )
        print("    schoolpulse installer add schoolpulse-agent_..._all.deb\n")
    if args.qr:
        print(enrolline.terminal(shown.link))
    return 0
