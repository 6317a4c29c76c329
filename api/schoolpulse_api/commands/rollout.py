"""Đưa agent mới tới các trường theo từng đợt · Roll a newer agent out to the schools, wave by wave."""

from __future__ import annotations

import argparse
from pathlib import Path

from schoolpulse_api import packages
from schoolpulse_api.settings import Settings
from schoolpulse_api.table import table, when
from schoolpulse_collector import waves
from schoolpulse_collector.registry import SYSTEM, Refused, Registry, agents, rollouts
from schoolpulse_collector.registry.agents import Running
from schoolpulse_collector.waves import Rollout


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows ``schoolpulse rollout``."""
    made = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    text = "bắt đầu với đợt đầu; ZIP.sig nằm cạnh ZIP · begin with the first wave; ZIP.sig lies beside the ZIP"
    start = made.add_parser("start", help=text, description=text)
    start.add_argument("zip", type=Path, metavar="ZIP", help="schoolpulse-agent-VERSION.zip")
    text = "phần trăm số trường mỗi đợt · percent of schools, rising (default: %(default)s)"
    start.add_argument("--waves", type=_percents, default="1,10,100", metavar="N,N,100", help=text)
    text = "trường thử trước, lặp lại được · a school that comes first; repeatable"
    start.add_argument("--pilot", action="append", default=[], metavar="SCHOOL", help=text)
    text = "mỗi đợt ít nhất N giờ · hours that a wave lasts at least (default: %(default)g)"
    start.add_argument("--hours", type=float, default=waves.HOURS, metavar="N", help=text)
    for name, text in (
        ("status", "các lần đưa ra, mới nhất trước · all rollouts, the newest first"),
        ("pause", "tạm dừng, máy đã nhận vẫn giữ · offer it to nobody more; who has it keeps it"),
        ("resume", "tiếp tục · go on where it was paused"),
        ("withdraw", "thu hồi, mọi máy quay về bản trước · every machine that runs it goes back to what it came from"),
    ):
        one = made.add_parser(name, help=text, description=text)
        if name in ("pause", "withdraw"):
            one.add_argument("--why", default="", metavar="TEXT", help="lý do, ghi vào nhật ký · goes into the audit")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """A running centre follows within a second. Raises Refused, RegistryDown, OSError."""
    registry = Registry(settings.registry_url)
    try:
        if args.what == "status":
            print(_status(registry, settings.time_zone))
            return 0
        if args.what == "start":
            manifest = packages.take(settings.home, args.zip)
            with registry.change(SYSTEM) as change:
                done = rollouts.start(change, manifest, args.waves, args.pilot, args.hours)
        else:
            with registry.change(SYSTEM) as change:
                newest = next(iter(rollouts.everything(change.session)), None)
                if newest is None:
                    raise Refused("there is no rollout: begin one with 'schoolpulse rollout start'")
                if args.what == "resume":
                    done = rollouts.resume(change, newest.id)
                else:
                    act = rollouts.pause if args.what == "pause" else rollouts.withdraw
                    done = act(change, newest.id, args.why)
        print(f"{done.manifest.version}: {STATES[done.state]}, {_wave(done)}")
    finally:
        registry.close()
    return 0


STATES = {
    "running": "đang đưa ra · running",
    "paused": "tạm dừng · paused",
    "done": "xong · done",
    "withdrawn": "đã thu hồi · withdrawn",
}


def _status(registry: Registry, zone: str) -> str:
    with registry.read() as session:
        known = rollouts.everything(session)
        said = [Running(*each) for _, *each in agents.everything(session)]
    if not known:
        return "Chưa có lần nào · no rollout yet."
    head = (
        "BẢN · VERSION",
        "TÌNH TRẠNG · STATE",
        "ĐỢT · WAVE",
        "TỪ · SINCE",
        "MÁY CHẠY · RUN IT",
        "TỪ CHỐI · REFUSE IT",
        "LÝ DO · WHY",
    )
    rows = []
    for each in known:
        version = each.manifest.version
        run = sum(running.agent == version for running in said)
        refuse = sum(waves.refuses(running, version) for running in said)
        facts = (version, STATES[each.state], _wave(each), when(each.since, zone), str(run), str(refuse), each.why)
        rows.append(facts)
    return table(head, rows)


def _wave(rollout: Rollout) -> str:
    first = 1 if rollout.pilots else 0
    share = f"{rollout.waves[rollout.wave - first]:g} %" if rollout.wave >= first else "trường thử · pilots"
    return f"{rollout.wave + 1}/{rollout.last + 1} ({share})"


def _percents(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write percentages as 1,10,100") from None
