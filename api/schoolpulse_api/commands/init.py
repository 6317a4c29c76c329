"""Make a new centre: its CA, certificate, registry, first administrator and settings."""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import socket
import sys

from schoolpulse_api import enrolline
from schoolpulse_api.serving import LINK_SECONDS
from schoolpulse_api.settings import NAME, Settings, SettingsError
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import SYSTEM, Change, Registry, enrolment, grants, org, orgvalues, people

SETTINGS = """# SchoolPulse · Nhịp trường: {organisation}
# Every setting: schoolpulse settings. Environment variables SP_... go over this file.
public_name = {name}
http_host = {listen}
http_port = {http_port}
mqtts_host = {listen}
mqtts_port = {mqtt_port}
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is not given is asked for on a terminal."""
    parser.add_argument("--organisation", metavar="NAME", help="who runs this centre, as 'Sở GDĐT TP.HCM'")
    parser.add_argument("--name", help="name or address by which devices and people reach this machine")
    parser.add_argument("--also", action="append", default=[], metavar="NAME", help="another such name; repeatable")
    parser.add_argument("--listen", metavar="ADDRESS", help="address to listen on: 0.0.0.0 for all (default)")
    parser.add_argument("--http-port", type=int, default=8443, metavar="PORT", help="pages and API (default: 8443)")
    parser.add_argument("--mqtt-port", type=int, default=8883, metavar="PORT", help="devices (default: 8883)")
    parser.add_argument("--administrator", default="admin", metavar="LOGIN", help="the first one (default: admin)")
    parser.add_argument("--school", metavar="NAME", help="a first school; without it, import them later")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Make it all, or say what is there already."""
    if settings.has_tls:
        raise SettingsError(f"{settings.home} is a centre already; start it: schoolpulse up --home {settings.home}")
    organisation = args.organisation or _ask("Đơn vị · organisation", "Nhịp trường")
    name = args.name or _ask("Tên máy hoặc địa chỉ · name or address of this machine", socket.getfqdn())
    listen = args.listen or _ask("Lắng nghe tại · listen on", "0.0.0.0")  # noqa: S104 - devices come from elsewhere
    _check(name, listen, args)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    registry = Registry(settings.registry_url)
    try:
        with registry.change(SYSTEM) as change:
            link = _first_administrator(change, args.administrator, organisation)
            school = _first_school(change, args.school) if args.school else None
        known_as = [name, *args.also, "localhost", "127.0.0.1"]
        shown = {"name": name, "listen": listen}
        text = {key: json.dumps(value, ensure_ascii=False) for key, value in shown.items()}
        (settings.home / NAME).write_text(
            SETTINGS.format(organisation=organisation, http_port=args.http_port, mqtt_port=args.mqtt_port, **text),
            encoding="utf-8",
        )
        authority = Authority.create(settings.tls_folder, organisation, known_as)  # last: with it this is a centre
        made = settings.model_copy(update={"public_name": name, "http_port": args.http_port})
        _tell(made, authority, registry, link, school)
    finally:
        registry.close()
    return 0


def _first_administrator(change: Change, login: str, organisation: str) -> str:
    org.put_unit(change, "org", organisation, "department", None)
    person = people.by_login(change.session, login)  # of an init that did not come to its end
    person = person or people.add(change, login, "Quản trị viên · Administrator")
    grants.grant(change, person=person.id, role="administrator")
    return people.issue_link(change, person, LINK_SECONDS)


def _first_school(change: Change, name: str) -> str:
    key = "-".join(filter(None, map(orgvalues.plain, name.split())))[:64] or "truong"
    org.put_school(change, key, name)
    org.join(change, key, "org")
    return key


def _tell(settings: Settings, authority: Authority, registry: Registry, link: str, school: str | None) -> None:
    home = settings.home
    print(f"\n  Trung tâm đã sẵn sàng trong {home} · the centre is ready.\n")
    print(f"  1. Chạy · run:              schoolpulse up --home {home}")
    print(f"  2. Quản trị viên · sign in: {settings.url}/sign-in?token={link}")
    print("     (dùng một lần, trong 12 giờ · once, within 12 hours; trình duyệt sẽ hỏi vì CA là của riêng trung tâm:")
    print(f"     the browser will ask, as the CA is the centre's own: {settings.tls_folder / 'ca.pem'})")
    if school:
        with registry.change(SYSTEM) as change:
            _, token = enrolment.issue(change, authority.fingerprint, school)
        print("  3. Trên mỗi máy · on each machine (40, 7 ngày · days):")
        shown = enrolline.line(settings.url, token, authority.ca_pem)
        print(f"     Linux:             {shown.linux}")
        print(f"     Windows:           {shown.windows}")
        print(f"     đã cài · installed: {shown.command}")
    else:
        print(f"  3. Nhập trường · schools:   schoolpulse org import truong.csv --home {home}")
        print(f"  4. Mã đăng ký · enrol:      schoolpulse enrol SCHOOL --home {home}")
    print("  Trước đó, gói cài của agent (make deb) · before that, the agent's package:")
    print(f"     schoolpulse installer add schoolpulse-agent_..._all.deb --home {home}")
    print(f"\n  Dấu vân tay CA · CA fingerprint: {authority.fingerprint}\n")


def _check(name: str, listen: str, args: argparse.Namespace) -> None:
    try:
        ipaddress.ip_address(listen)
    except ValueError:
        raise SettingsError(f"--listen {listen!r}: write an address of this machine, or 0.0.0.0") from None
    for each in (name, *args.also):
        if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", each):
            raise SettingsError(f"--name {each!r}: write a host name or an address, without https://")
    if args.http_port == args.mqtt_port:
        raise SettingsError("--http-port and --mqtt-port must differ")


def _ask(question: str, usual: str) -> str:
    if not sys.stdin.isatty():
        return usual
    return input(f"{question} [{usual}]: ").strip() or usual
