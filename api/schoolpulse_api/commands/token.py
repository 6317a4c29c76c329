"""Token cho chương trình: tạo, xem, thu hồi · API tokens for programs: issue, list, revoke."""

from __future__ import annotations

import argparse

from schoolpulse_api.commands.person import place, shown
from schoolpulse_api.settings import Settings
from schoolpulse_api.table import table, when
from schoolpulse_collector.registry import SYSTEM, Registry, grants, now, tokens
from schoolpulse_collector.registry.model import ApiToken

DAY = 86_400  # seconds


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows ``schoolpulse token``."""
    made = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    text = "tạo token, chỉ hiện một lần · a new token, shown only once"
    issue = made.add_parser("issue", help=text, description=text)
    issue.add_argument("label", metavar="LABEL", help="dùng để làm gì · what it is for")
    place(issue)
    issue.add_argument("--days", type=_days, metavar="N", help="có hạn N ngày · good for N days; else until revoked")
    text = "mọi token · all tokens"
    made.add_parser("list", help=text, description=text)
    text = "thu hồi một token theo số trong 'list' · revoke a token, by its number in 'list'"
    revoke = made.add_parser("revoke", help=text, description=text)
    revoke.add_argument("token", type=int, metavar="NUMBER")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it. Raises Refused, RegistryDown."""
    registry = Registry(settings.registry_url)
    try:
        if args.what == "list":
            print(_list(registry, settings))
            return 0
        with registry.change(SYSTEM) as change:
            if args.what == "revoke":
                tokens.revoke(change, args.token)
                return 0
            seconds = args.days * DAY if args.days else None
            _, text = tokens.issue(change, args.label, seconds, [(args.role, args.unit, args.school)])
        print(text)
    finally:
        registry.close()
    return 0


def _list(registry: Registry, settings: Settings) -> str:
    with registry.read() as session:
        known = tokens.everything(session)
        may = {token.id: ", ".join(map(shown, grants.of_token(session, token.id))) for token in known}
    head = (
        "SỐ · NO",
        "NHÃN · LABEL",
        "TÌNH TRẠNG · STATE",
        "TẠO BỞI · BY",
        "DÙNG LẦN CUỐI · LAST USED",
        "QUYỀN · GRANTS",
    )
    zone = settings.time_zone
    rows = [
        (str(each.id), each.label, _state(each, zone), each.created_by, when(each.last_used, zone), may[each.id])
        for each in known
    ]
    return table(head, rows)


def _state(token: ApiToken, zone: str) -> str:
    if token.revoked:
        return "đã thu hồi · revoked"
    if token.expires is None:
        return "còn hiệu lực · good"
    return ("hết hạn · expired " if token.expires <= now() else "đến · until ") + when(token.expires, zone)


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= 3660:
        raise argparse.ArgumentTypeError("write a number of days above 0, at most 3660")
    return days
