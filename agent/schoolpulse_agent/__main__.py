"""The command line of the agent: ``schoolpulse-agent enroll | run | once | check | data``."""

from __future__ import annotations

from schoolpulse_agent import lazy

lazy.load_later()  # before the imports below, which would bring them all

import argparse
import io
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, NoReturn, cast

from schoolpulse_agent import __version__, language, service, settings
from schoolpulse_agent.centre import EnrolFailed
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.settings import DEFAULT

RESTART = 3  # exit code: ended in order, to be started again by whoever started it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 wrong command line or settings, 3 start it again."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file or pipe gets UTF-8; a terminal what it can show
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace", line_buffering=True)
    args = _as_a_service(arguments) or _parser(_asked(arguments)).parse_args(arguments)
    level = args.log_level or {run: "info", check: "critical"}.get(args.command, "warning")  # check says it by itself
    logging.basicConfig(level=level.upper(), format=service.log_format(), stream=sys.stderr)
    spoken = _language(args.lang)
    try:
        code = int(args.command(args))
        sys.stdout.flush()  # here, where a reader that has gone is no surprise
        return code
    except settings.SettingsError as why:
        return _failed(why.said(spoken), 2)
    except EnrolFailed as why:
        return _failed(why.said(spoken), 1)
    except BrokenPipeError:  # the reader of our output has gone: `data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as why:
        return _failed(language.of_file(why).said(spoken), 1)


def _failed(line: str, code: int) -> int:
    print(f"schoolpulse-agent: {line}", file=sys.stderr)
    return code


def run(args: argparse.Namespace) -> int:
    """Report until stopped by SIGTERM or Ctrl-C; ends with 3 to be started again, as another version or smaller."""
    from schoolpulse_agent import agent

    loaded = _settings(args)
    loaded.require_enrolment()
    stop = agent.Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return 0 if agent.keep_running(loaded, stop) else RESTART


def enroll(args: argparse.Namespace) -> int:
    """Make this machine a device of the centre: spend a token, write the settings file and what it names."""
    from schoolpulse_agent import enroll, identity, keeping

    url, token = args.url, args.token
    if "-" in (url, token):  # so that the token stands in no process list and no shell's history
        said = sys.stdin.readline().strip()
        url, token = (said, None) if url == "-" else (url, said)
    if token is None:
        url, token = enroll.split_link(url)
    config = args.config or DEFAULT
    known = keeping.prepare(config)
    if known.device.id and not args.force:
        raise settings.SettingsError(
            f"{config}: this machine is enrolled already, as {known.device.id}: to replace that, add --force",
            f"{config}: máy này đã đăng ký, mã {known.device.id}: muốn thay thì thêm --force",
        )
    request = enroll.new_request() if args.certificate else None
    answer = enroll.enroll(url, token, identity.read(), args.name, request, known)
    files = keeping.take_over(config, answer, url.rstrip("/"), request)
    place = f"{answer.school}, {answer.room}" if answer.room else answer.school
    more = f" --config {args.config}" if args.config else ""
    print(f"Đã đăng ký máy {answer.name} ({answer.device}) tại {place}.")
    print(f"Enrolled {answer.name} ({answer.device}) at {place}.")
    if request and not answer.certificate:
        print("Trung tâm không cấp chứng thư; máy dùng mã bí mật.")
        print("The centre gives no certificates; the device shows its secret.")
    print(f"Đã ghi / written: {', '.join(map(str, files))}")
    print(f"Tiếp theo, rồi khởi động lại dịch vụ / next, then restart the service: schoolpulse-agent{more} check")
    return 0


def once(args: argparse.Namespace) -> int:
    """Print one report as JSON; takes a second, because CPU use is measured between two instants."""
    cycle = Cycle(_settings(args).probes)
    cycle.prime()
    time.sleep(1.0)
    print(json.dumps({"t": int(time.time() * 1000), "m": cycle.read()}, ensure_ascii=False, indent=2))
    return 0


def data(args: argparse.Namespace) -> int:
    """Print all that can ever leave this machine, to read and sign: what, why, unit, example, how often."""
    from schoolpulse_agent import paper

    print(paper.printed(_settings(args), args.lang or "both", args.format))
    return 0


def check(args: argparse.Namespace) -> int:
    """Try every step up to the collector's receipt; 0 all fine, 1 a step failed, 2 not enrolled or wrong settings."""
    from schoolpulse_agent import check

    loaded = _settings(args)
    if loaded.path and os.name == "posix":
        about = loaded.path.stat()
        _go_on_as(about.st_uid, about.st_gid)
    return check.run(loaded, _language(args.lang), print)


def _go_on_as(user: int, group: int) -> None:
    """Root gives up its rights for those of the settings file's owner, who could have named any file in it to be sent.

    So `check` tries what the service will do, too, and leaves nothing behind that the service can't write.
    """
    if os.geteuid() != 0 or user == 0:
        return
    import pwd

    try:
        os.initgroups(pwd.getpwuid(user).pw_name, group)
    except KeyError:  # a number without a name
        os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def _as_a_service(arguments: list[str] | None) -> argparse.Namespace | None:
    """The line of every service, ``[--config FILE] run``, without a parser: that would stay, and takes 0.4 MB."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[-1:] != ["run"] or given[:-1] not in ([], ["--config", *given[1:2]]):
        return None
    config = Path(given[1]) if len(given) == 3 else None
    return cast("argparse.Namespace", SimpleNamespace(command=run, config=config, lang=None, log_level=None))


HELP_VI = {
    enroll: "Đăng ký máy này với trung tâm: dùng một mã đăng ký, ghi tệp cài đặt và các tệp kèm theo.",
    run: "Gửi báo cáo cho đến khi bị dừng bằng SIGTERM hoặc Ctrl-C.",
    once: "In một báo cáo dạng JSON; mất một giây vì tải CPU đo giữa hai thời điểm.",
    check: "Thử từng bước đến khi trung tâm xác nhận; 0 mọi thứ tốt, 1 có bước hỏng, 2 chưa đăng ký hoặc sai cài đặt.",
    data: "In tất cả những gì máy này có thể gửi đi, để đọc và ký: gì, để làm gì, đơn vị, ví dụ, bao lâu một lần.",
}

HEADINGS_VI = (  # argparse's own words
    ("usage: ", "cách dùng: "),
    ("\npositional arguments:\n", "\ntham số:\n"),
    ("\noptions:\n", "\ntuỳ chọn:\n"),
    ("\noptional arguments:\n", "\ntuỳ chọn:\n"),  # Python 3.9
    ("show this help message and exit", "hiện trợ giúp này rồi kết thúc"),
    ("show program's version number and exit", "hiện phiên bản rồi kết thúc"),
)


def _settings(args: argparse.Namespace) -> settings.Settings:
    return settings.load(args.config or (DEFAULT if DEFAULT.exists() else None))


def _language(asked: str | None) -> str:
    return asked if asked in language.LANGUAGES else language.of_this_person()


def _asked(arguments: list[str] | None) -> str:
    """The language that the command line asks for, before there is a parser that speaks it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--lang", nargs="?")
    return _language(first.parse_known_args(arguments)[0].lang)


def _parser(spoken: str) -> argparse.ArgumentParser:
    def told(en: str, vi: str) -> str:
        return en if spoken == "en" else vi

    class Parser(argparse.ArgumentParser):
        def format_help(self) -> str:
            text = super().format_help()
            for en, vi in () if spoken == "en" else HEADINGS_VI:
                text = text.replace(en, vi, 1)
            return text

        def error(self, message: str) -> NoReturn:
            self.print_usage(sys.stderr)
            self.exit(2, f"{self.prog}: {told('error', 'lỗi dòng lệnh')}: {message}\n")

    parser = Parser(
        prog="schoolpulse-agent",
        description=told("Sends this machine's health to SchoolPulse.", "Gửi tình trạng máy này về Nhịp trường."),
        epilog=told(
            "Exit codes: 0 done, 1 failed, 2 wrong command line or settings; run: 3 start it again.",
            "Mã kết thúc: 0 xong, 1 thất bại, 2 sai dòng lệnh hoặc sai cài đặt; run: 3 cần được khởi động lại.",
        ),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    there = str(DEFAULT).replace("%", "%%")
    files = told(f"settings (default: {there} if there is one)", f"tệp cài đặt (mặc định: {there} nếu có)")
    parser.add_argument("--config", type=Path, metavar="FILE", help=files)
    log = told("how much of the log to show", "mức nhật ký hiển thị")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help=log)
    speak = told("language (default: the system's)", "ngôn ngữ (mặc định: của hệ thống)")
    parser.add_argument("--lang", choices=["vi", "en"], help=speak)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made = {}
    for command, vi in HELP_VI.items():
        text = told((command.__doc__ or "").strip(), vi)
        made[command] = commands.add_parser(command.__name__, help=text, description=text)
        made[command].set_defaults(command=command)
        both = ["both"] if command is data else []
        made[command].add_argument("--lang", choices=["vi", "en", *both], default=argparse.SUPPRESS, help=speak)
    form = told("html prints well, json is for programs", "html để in ra giấy, json cho phần mềm khác")
    made[data].add_argument("--format", choices=["text", "html", "json"], default="text", help=form)
    _arguments_of_enroll(made[enroll], told)
    return parser


def _arguments_of_enroll(own: argparse.ArgumentParser, told: Callable[[str, str], str]) -> None:
    link = "https://host:port"
    text = told(
        f"{link} of the centre; or the whole link with #spe_..., or -",
        f"{link} của trung tâm; hoặc cả liên kết có #spe_..., hoặc -",
    )
    own.add_argument("url", metavar="URL", help=text)
    text = told("spe_...; - to read it from standard input", "spe_...; - để đọc từ đầu vào chuẩn")
    own.add_argument("token", metavar="TOKEN", nargs="?", help=text)
    own.add_argument("--name", default="", help=told("what people call this machine, as PC-07", "tên gọi, như PC-07"))
    text = told("ask for a certificate too; needs the extra [mtls]", "xin cả chứng thư; cần cài thêm [mtls]")
    own.add_argument("--certificate", action="store_true", help=text)
    text = told("replace the identity that this machine has", "thay danh tính mà máy này đang có")
    own.add_argument("--force", action="store_true", help=text)


if __name__ == "__main__":
    from schoolpulse_agent import launch

    sys.exit(launch.main())
