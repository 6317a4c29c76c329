"""Gói cập nhật của agent: đóng gói, ký ngoại tuyến · Update packages of the agent: build and sign them, offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from schoolpulse_api.settings import Settings
from schoolpulse_collector import signing

NEVER = (
    "Khoá bí mật không bao giờ nằm trên máy chủ của trung tâm: ai có nó chạy được mã trên mọi máy. Giữ trên USB. "
    "· The private key never lies on the centre's server: whoever has it can run code on every machine. Keep it on a "
    "USB stick."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows ``schoolpulse package``."""
    parser.description = f"{__doc__} {NEVER}"
    made = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    text = "tạo cặp khoá, in khoá công khai cho agent.toml · a new pair of keys; prints the public one for agent.toml"
    key = made.add_parser("key", help=text, description=f"{text}. {NEVER}")
    key.add_argument("--out", type=Path, required=True, metavar="FILE", help="khoá bí mật · the private key")
    text = "đóng gói agent đang cài ở đây · pack the agent that is installed here"
    build = made.add_parser("build", help=text, description=text)
    build.add_argument("--out", type=Path, default=Path("dist"), metavar="FOLDER", help="(default: %(default)s)")
    text = "ký một gói, ghi ZIP.sig · sign a package; writes ZIP.sig"
    sign = made.add_parser("sign", help=text, description=f"{text}. {NEVER}")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="khoá bí mật · the private key")
    sign.add_argument("zip", type=Path, metavar="ZIP", help="schoolpulse-agent-VERSION.zip")


def run(args: argparse.Namespace, _settings: Settings) -> int:
    """Do it. Raises OSError, ValueError."""
    if args.what == "build":
        print(signing.build(args.out))
    elif args.what == "key":
        try:
            public = signing.new_key(args.out)
        except FileExistsError:
            raise ValueError(f"{args.out} is there already: a key is never overwritten") from None
        print(f'# {NEVER}\n# agent.toml:\n[update]\nenabled = true\npublic_key = "{public}"')
    else:
        made = signing.sign(args.key, args.zip)
        print(f"{args.zip}.sig: {made.version}, {made.size} bytes, sha256 {made.sha256}")
    return 0
