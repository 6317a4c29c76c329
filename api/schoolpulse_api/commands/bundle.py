"""Bộ cài cho USB: cài agent ở trường không có Internet · A ZIP for a USB stick: installs agents without Internet."""

from __future__ import annotations

import argparse
import os
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from schoolpulse_api import enrolline, installers
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import SYSTEM, Registry, enrolment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which school, how many machines, how long, into which file."""
    parser.add_argument("school", help="mã trường · key of the school")
    parser.add_argument("--room", metavar="KEY", help="phòng của các máy · all of them stand in this room")
    parser.add_argument("--kind", choices=enrolment.KINDS, default="lab_pc", help="loại máy · (default: lab_pc)")
    parser.add_argument("--uses", type=int, default=40, metavar="N", help="số máy · machines (default: 40)")
    parser.add_argument("--hours", type=float, default=168, metavar="N", help="hạn dùng · good for (default: 168)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="tệp ZIP · the ZIP file")
    text = "thêm tệp .deb máy cần · a .deb that machines need, as python3-psutil of their system; repeatable"
    parser.add_argument("--also", type=Path, action="append", default=[], metavar="FILE", help=text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Write the ZIP, which only its owner can read: a token is in it. Raises SettingsError, OSError, Refused."""
    if not settings.has_tls:
        raise SettingsError(f"{settings.home} has no CA, so no machine could trust it: run schoolpulse init first")
    files = _packages(settings) + args.also
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise SettingsError(f"no such file: {', '.join(missing)}")
    authority = Authority.open(settings.tls_folder)
    fresh = args.out.with_name(f".{args.out.name}.new")
    opened = os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb")  # before a token is made
    registry = Registry(settings.registry_url)
    try:
        registry.require_school(args.school)
        with opened, zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as made, registry.change(SYSTEM) as change:
            more = {"room": args.room, "uses": args.uses, "days": args.hours / 24, "kind": args.kind, "label": "USB"}
            _, token = enrolment.issue(change, authority.fingerprint, args.school, **more)
            for name in installers.SCRIPTS:
                made.writestr(name, installers.script(name))
            made.writestr("ca.pem", authority.ca_pem)
            made.writestr("enrol.txt", enrolline.line(settings.url, token, authority.ca_pem).link + "\n")
            made.writestr("DOC-TRUOC.txt", "\ufeff" + _read_me(args, settings).replace("\n", "\r\n"))  # for Notepad
            for file in files:
                made.write(file, file.name)
        fresh.replace(args.out)
    finally:
        registry.close()
        fresh.unlink(missing_ok=True)
    print(f"{args.out}: {args.uses} máy · machines, {args.hours:g} giờ · hours")
    print("Trong đó có mã đăng ký: đừng để lạc · A token is in it: don't lose it.")
    return 0


def _packages(settings: Settings) -> list[Path]:
    found = [installers.packages(settings.installers_folder, kind)[-1:] for kind in installers.KINDS]
    if not any(found):
        hint = "schoolpulse installer add schoolpulse-agent_..._all.deb"
        raise SettingsError(f"there is no package of the agent in {settings.installers_folder}: {hint}")
    return [path for paths in found for path in paths]


def _read_me(args: argparse.Namespace, settings: Settings) -> str:
    ends = datetime.now(ZoneInfo(settings.time_zone)) + timedelta(hours=args.hours)
    text = (installers.HERE / "DOC-TRUOC.txt").read_text(encoding="utf-8")
    return text.format(school=args.school, uses=args.uses, ends=f"{ends:%d/%m/%Y %H:%M}", url=settings.url)
