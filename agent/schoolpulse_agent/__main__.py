"""The command line of the agent: ``schoolpulse-agent enroll | run | once | check | data``."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from schoolpulse_agent import __version__, probe, service, settings
from schoolpulse_agent.centre import EnrolFailed
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.settings import DEFAULT
from schoolpulse_agent.wire import Groups, split_group

RESTART = 3  # exit code: ended in order, to be started again as another version of itself


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 wrong command line or settings, 3 start it again."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=args.log_level.upper(), format=service.log_format(), stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file or pipe gets UTF-8; a terminal what it can show
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace", line_buffering=True)
    path = args.config or (DEFAULT if DEFAULT.exists() else None)
    try:
        code = enroll(args) if args.command is enroll else int(args.command(settings.load(path)))
        sys.stdout.flush()  # here, where a reader that has gone is no surprise
        return code
    except settings.SettingsError as why:
        print(f"schoolpulse-agent: {why}", file=sys.stderr)
        return 2
    except EnrolFailed as why:
        print(f"schoolpulse-agent: {why}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone: `data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as why:
        print(f"schoolpulse-agent: {why.filename or ''}: {why.strerror or why}", file=sys.stderr)
        return 1


def run(loaded: settings.Settings) -> int:
    """Report until stopped by SIGTERM or Ctrl-C; ends with 3 to be started again, as another version of itself."""
    from schoolpulse_agent import agent

    _require_enrolment(loaded)
    stop = agent.Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running = agent.build(loaded)
    agent.run([running], stop)
    while running.replaced and not stop.is_set:  # the centre has given this machine another identity
        running = agent.build(settings.load(loaded.path), new=True)
        agent.run([running], stop)
    return RESTART if running.outdated and not stop.is_set else 0


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
            f"{config}: this machine is enrolled already, as {known.device.id}: to replace that, add --force"
        )
    request = enroll.new_request() if args.certificate else None
    answer = enroll.enroll(url, token, identity.read(), args.name, request, known)
    files = keeping.take_over(config, answer, url.rstrip("/"), request)
    place = f"{answer.school}, {answer.room}" if answer.room else answer.school
    more = f" --config {args.config}" if args.config else ""
    print(f"Đã ghi danh máy {answer.name} ({answer.device}) tại {place}.")
    print(f"Enrolled {answer.name} ({answer.device}) at {place}.")
    if request and not answer.certificate:
        print("Trung tâm không cấp chứng thư; máy dùng mã bí mật.")
        print("The centre gives no certificates; the device shows its secret.")
    print(f"Đã ghi / written: {', '.join(map(str, files))}")
    print(f"Tiếp theo, rồi khởi động lại dịch vụ / next, then restart the service: schoolpulse-agent{more} check")
    return 0


def once(loaded: settings.Settings) -> int:
    """Print one report as JSON; takes a second, because CPU use is measured between two instants."""
    print(json.dumps({"t": int(time.time() * 1000), "m": _read(loaded)}, ensure_ascii=False, indent=2))
    return 0


def data(loaded: settings.Settings) -> int:
    """Print exactly which fields this machine would send, with units, in English and Vietnamese."""
    known = probe.metrics()
    rows = []
    groups = _read(loaded)
    groups["agent"] = {field: 0.0 for measurement, field in probe.OWN_METRICS if measurement == "agent"}
    for key, fields in sorted(groups.items()):
        measurement, tags = split_group(key)
        place = " ".join(f"{name}={value}" for name, value in tags)
        for field in fields:
            metric = known[measurement, field]
            rows.append((measurement, field, place, metric.unit, metric.en, metric.vi))
    head = ("measurement", "field", "tags", "unit", "English", "Tiếng Việt")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\n{len(rows)} fields, and with each report its time, its number and the seconds since boot.")
    print("Never sent: user names, process names, command lines, window titles, web addresses.")
    print("Không bao giờ gửi: tên người dùng, tên tiến trình, dòng lệnh, tiêu đề cửa sổ, địa chỉ web.")
    return 0


def check(loaded: settings.Settings) -> int:
    """Try every step from settings to the collector's receipt; stops a running agent's connection for a moment."""
    from schoolpulse_agent import identity
    from schoolpulse_agent.link import Link
    from schoolpulse_agent.outbox import Outbox
    from schoolpulse_agent.wallclock import WallClock

    _require_enrolment(loaded)
    loaded.ca_file()
    print(f"✓ settings: {len(loaded.probes)} probes, a report every {loaded.reports.interval:g} s")
    failed = [key for key, fields in _read(loaded).items() if key.startswith("probe,") and not fields["up"]]
    print(f"✗ probes that failed: {', '.join(failed)}" if failed else "✓ probes: all work")
    try:
        Path(loaded.reports.folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=loaded.reports.folder):
            print(f"✓ folder {loaded.reports.folder}: can be written")
    except OSError as why:
        print(f"✗ folder {loaded.reports.folder}: {why.strerror}; set reports.folder to one this user may write")
        failed.append("folder")
    with tempfile.TemporaryDirectory() as folder:
        hardware = identity.read().fingerprint
        link = Link(loaded, Outbox(Path(folder), Path(folder) / "live"), WallClock(), hardware=hardware)
        end = time.monotonic() + 10
        while time.monotonic() < end and not link.receipts:
            link.work()
            time.sleep(0.05)
        link.close(0.5)
        link.outbox.close()
    if link.receipts:
        offset = link.wallclock.offset_ms / 1000
        print(f"✓ broker {loaded.broker.url}: the collector answers; its clock is {offset:+.1f} s off")
    elif link.refused:
        print(f"✗ broker {loaded.broker.url}: {link.refused}; see broker.url, device.id and the secret")
    else:
        print(f"✗ broker {loaded.broker.url}: connected, but the collector did not answer in 10 s; is it running?")
    return 0 if link.receipts and not failed else 1


def _require_enrolment(loaded: settings.Settings) -> None:
    if not (loaded.device.id and loaded.device.school and loaded.secret()):
        raise settings.SettingsError(
            "this machine is not enrolled: [device] needs id, school and secret or secret_file; "
            "schoolpulse-agent enroll writes them"
        )


def _read(loaded: settings.Settings) -> Groups:
    cycle = Cycle(loaded.probes)
    cycle.prime()
    time.sleep(1.0)
    return cycle.read()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schoolpulse-agent", description="Sends this machine's health to SchoolPulse."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    there = str(DEFAULT).replace("%", "%%")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings (default: {there} if there is one)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made = {}
    for command in (enroll, run, once, check, data):
        text = (command.__doc__ or "").strip()
        made[command] = commands.add_parser(command.__name__, help=text, description=text)
        made[command].set_defaults(command=command)
    own = made[enroll]
    own.add_argument(
        "url", metavar="URL", help="https://host:port of the centre; or the whole link with #spe_..., or -"
    )
    own.add_argument("token", metavar="TOKEN", nargs="?", help="spe_...; - to read it from standard input")
    own.add_argument("--name", default="", help="what people call this machine, as PC-07")
    own.add_argument("--certificate", action="store_true", help="ask for a certificate too; needs the extra [mtls]")
    own.add_argument("--force", action="store_true", help="replace the identity that this machine has")
    return parser


if __name__ == "__main__":
    from schoolpulse_agent import launch

    sys.exit(launch.main())
