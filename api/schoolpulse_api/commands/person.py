"""Người dùng: thêm, cấp quyền, tạo liên kết đăng nhập · People: add, grant roles, make sign-in links."""

from __future__ import annotations

import argparse

from schoolpulse_api.settings import Settings
from schoolpulse_api.table import table, when
from schoolpulse_collector.registry import SYSTEM, Change, Refused, Registry, grants, people
from schoolpulse_collector.registry.model import Grant, Person
from schoolpulse_collector.registry.rights import ROLES

HELP = {
    "add": "thêm một người · add a person",
    "list": "mọi người và quyền của họ · everybody, and what they may",
    "link": "liên kết đăng nhập dùng một lần, 12 giờ · a one-time sign-in link, good for 12 hours",
    "grant": "cấp thêm một vai trò · grant one more role",
    "withdraw": "thu hồi một quyền theo số trong 'list' · take a grant back, by its number in 'list'",
    "deactivate": "khóa tài khoản, kết thúc các phiên · lock out at once; sessions and links end",
    "activate": "mở khóa tài khoản · let a deactivated person in again",
    "reset-totp": "gỡ xác thực hai lớp, khi mất điện thoại · remove the second factor, as after a lost phone",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows ``schoolpulse person``."""
    made = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for what, text in HELP.items():
        one = made.add_parser(what, help=text, description=text)
        if what not in ("list", "withdraw"):
            one.add_argument("login", metavar="LOGIN")
        if what == "add":
            one.add_argument("--name", required=True, help="họ và tên · the person's name")
        if what in ("add", "grant"):
            place(one)
        if what == "link":
            forget = "bỏ mật khẩu cũ: người dùng sẽ đặt mật khẩu mới · forget the password: a new one must be set"
            one.add_argument("--new-password", action="store_true", help=forget)
        if what == "withdraw":
            one.add_argument("grant", type=int, metavar="NUMBER")


def place(parser: argparse.ArgumentParser) -> None:
    """``--role`` and where it is granted."""
    parser.add_argument("--role", required=True, choices=ROLES)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--unit", metavar="KEY", help="trong đơn vị này và cấp dưới · in this unit and all below it")
    where.add_argument("--school", metavar="KEY", help="trong trường này · in this school; neither: everywhere")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it. Raises Refused, RegistryDown, SettingsError."""
    registry = Registry(settings.registry_url)
    try:
        if args.what == "list":
            print(_list(registry, settings))
        elif args.what == "link":
            print(_link(registry, args, settings))
        else:
            with registry.change(SYSTEM) as change:
                said = _change(change, args)
            print(said, end="")
    finally:
        registry.close()
    return 0


def shown(grant: Grant) -> str:
    """A grant as ``7: technician@school:s1``."""
    where = f"@unit:{grant.unit}" if grant.unit else f"@school:{grant.school}" if grant.school else ""
    return f"{grant.id}: {grant.role}{where}" + (" (oidc)" if grant.source == "oidc" else "")


def _change(change: Change, args: argparse.Namespace) -> str:
    """What to print once it is done."""
    if args.what == "withdraw":
        grants.withdraw(change, args.grant)
        return ""
    new = args.what == "add"
    person = people.add(change, args.login, args.name) if new else _found(change, args.login)
    if args.what in ("add", "grant"):
        given = shown(grants.grant(change, person.id, role=args.role, unit=args.unit, school=args.school))
        return f"{given}\n" + (f"schoolpulse person link {person.login}\n" if new else "")
    if args.what == "deactivate":
        people.deactivate(change, person)
    elif args.what == "activate":
        people.activate(change, person)
    else:
        people.remove_totp(change, person)
    return ""


def _link(registry: Registry, args: argparse.Namespace, settings: Settings) -> str:
    from schoolpulse_api import serving

    serving.require_centre(settings)
    return serving.sign_in_link(settings, registry, args.login, new_password=args.new_password)


def _list(registry: Registry, settings: Settings) -> str:
    with registry.read() as session:
        everybody = people.everybody(session)
        may = {person.id: ", ".join(map(shown, grants.of_person(session, person.id))) for person in everybody}
    head = ("LOGIN", "TÊN · NAME", "ĐĂNG NHẬP · SIGNS IN BY", "TỪ · SINCE", "QUYỀN · GRANTS")
    rows = [
        (each.login, each.name, _ways(each), when(each.created, settings.time_zone), may[each.id]) for each in everybody
    ]
    return table(head, rows)


def _ways(person: Person) -> str:
    ways = {"password": person.password_hash, "totp": person.totp_secret, "oidc": person.subject}
    return " + ".join(way for way, has in ways.items() if has) or "link" if person.active else "đã khóa · deactivated"


def _found(change: Change, login: str) -> Person:
    person = people.by_login(change.session, login)
    if person is None:
        raise Refused(f"nobody has the login {login}: schoolpulse person list")
    return person
