"""Every fault that we know how to strike with, one entry each."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from city import CENTRE_IS_UP, SENDERS_ARE_UP, City, Row, start
from flood import flood
from running import wait_until

from schoolpulse_agent.outbox import BLOCK

ALL = ("duckdb", "victoriametrics", "influxdb")
SERVERS = ALL[1:]
DAY = 86_400


@dataclass
class Fault:
    """``strike(city, strikes)``; on which stores; ``city``: how the city differs; ``check``: what else must hold."""

    strike: Callable[[City, int], None]
    stores: tuple[str, ...] = ("duckdb",)
    city: dict[str, Any] = field(default_factory=dict)
    check: Callable[[City, Row], list[str]] = lambda _city, _row: []


def every(strike: Callable[[City], None], pause: tuple[float, float] = (0.5, 2.5)) -> Callable[[City, int], None]:
    """A fault that strikes so many times at random instants."""

    def run(city: City, strikes: int) -> None:
        for _ in range(strikes):
            time.sleep(city.chance.uniform(*pause))
            strike(city)
        time.sleep(1)

    return run


def lose_broker_files(city: City) -> None:
    city.broker.kill()
    for path in (city.folder / "broker").glob("*.db*"):
        path.unlink()
    city.broker.start()


def cut_network(city: City) -> None:
    city.proxy.cut()
    time.sleep(city.chance.uniform(1, 4))
    city.proxy.mend()


def lose_receipts(city: City) -> None:
    city.proxy.down = city.proxy.lose
    time.sleep(2)
    city.proxy.down = city.proxy.pass_on


def spoil_messages(city: City) -> None:
    city.proxy.up = city.proxy.spoil
    time.sleep(2)
    city.proxy.up = city.proxy.pass_on


def damage_segment(city: City) -> None:
    """Flip a bit or cut a tail off in what an outbox has on disk: what it held there can be lost, but is counted."""
    city.proxy.cut()
    time.sleep(1)
    city.senders.stop()  # all goes to disk
    said = json.loads(city.senders.printed().splitlines()[-1])
    city.given_up += said["dropped"] + BLOCK * said["damaged"]
    path = city.chance.choice(sorted((city.folder / "senders").glob("d*/*.seg")))
    data = bytearray(path.read_bytes())
    at = city.chance.randrange(len(data))
    if city.chance.random() < 0.5:
        data[at] ^= 1 << city.chance.randrange(8)
    else:
        del data[at:]
        city.given_up += _reports_after(path, at)
    path.write_bytes(data)
    city.proxy.mend()
    start(city.senders, SENDERS_ARE_UP)


def _reports_after(path: Path, at: int) -> int:
    """How many reports a cut at this byte takes: no reader can know of them, so the one who cuts counts."""
    from schoolpulse_agent import segment

    data = path.read_bytes()
    found = [(start, records) for start, records in segment.blocks(data, data.index(segment.MARK))]
    ends = (start + segment.HEAD.size + segment.HEAD.unpack_from(data, start)[1] for start, _ in found)
    return sum(len(records or ()) for (_, records), end in zip(found, ends, strict=True) if end > at)


def store_down(city: City) -> None:
    city.store.proxy.down = city.chance.choice((429, 500, 503))
    time.sleep(city.chance.uniform(1, 4))
    city.store.proxy.down = 0


def store_slow(city: City) -> None:
    """Slower than the writer's patience now and then."""
    city.store.proxy.delay = city.chance.choice((1.0, 3.0, 11.0))
    time.sleep(city.chance.uniform(2, 5))
    city.store.proxy.delay = 0.0


def lose_store_answers(city: City) -> None:
    city.store.proxy.cut_answers = True
    time.sleep(city.chance.uniform(1, 3))
    city.store.proxy.cut_answers = False


def poison_counted(city: City, row: Row) -> list[str]:
    """Each refused group, and nothing else, is a dead letter."""
    letters = (city.home / "dead-letters.jsonl").read_text().splitlines()
    refused = sum(json.loads(line)["reason"] == "store" for line in letters)
    values = [float(line.split()[3]) for line in city.ledger.read_text().splitlines()]
    poisoned = sum(value % 50 == 0 for value in values)
    return [] if refused == poisoned > 0 else [f"{refused} groups refused by the store, {poisoned} should be"]


def clock_steps(city: City) -> None:
    city.senders.process.send_signal(signal.SIGUSR2)


def clones(city: City, strikes: int) -> None:
    """Ten devices exist twice, with one id and one secret, and take each other's connection away."""
    some = dict(list(city.secrets.items())[:10])
    for number in range(strikes):
        twin = city.sender_program(f"clones-{number}", {"secrets": some, "interval": 1.0})
        city.more_senders.append(twin)
        time.sleep(city.chance.uniform(2, 4))


def disk_full(folder: str, megabytes: int) -> Callable[[City, int], None]:
    def strike(city: City) -> None:
        ballast = city.folder / folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65_536)
            except OSError:
                pass
        time.sleep(city.chance.uniform(1, 4))
        ballast.unlink()

    return every(strike)


def late_replay(city: City, strikes: int) -> None:
    """Centre and senders are killed and started again: days are closed while reports of those days come in."""
    for number, (device, secret) in zip(range(strikes), city.spare.items(), strict=False):
        time.sleep(city.chance.uniform(0.5, 3))
        city.kill_centre()
        city.more_senders.append(city.sender_program(f"late-{number}", {**LATE, "secrets": {device: secret}}))
    time.sleep(2)
    city.kill_centre()


def days_closed(city: City, row: Row) -> list[str]:
    """The row is about closed days, so there must be some."""
    if row.store != "duckdb":
        return []
    files = list((city.home / "samples.days").glob("*/*.parquet"))
    return [] if len(files) >= 2 else [f"only {len(files)} closed files"]


def return_after_three_days(city: City, strikes: int) -> None:
    """All senders hold days of reports and come back at once; strike after strike they are cut off again."""
    for _ in range(strikes):
        time.sleep(city.chance.uniform(1, 3))
        city.proxy.cut()
        time.sleep(0.5)
        city.proxy.mend()
    wait_until(lambda: city.metrics()["schoolpulse_devices_online"] == len(city.secrets), 60, "all are there again")
    with city.watched():  # nobody is called gone while days of old reports come in
        time.sleep(20)
        wait_until(lambda: city.metrics()["schoolpulse_intake_bytes"] == 0, 300, "the storm is over")


def centre_away(city: City, strikes: int) -> None:
    """The broker's queue is filled far over its bound, as half an hour of a city does, while nobody takes from it."""
    for _ in range(max(1, strikes // 5)):
        city.centre.kill()
        peak = flood(city, 400_000, psutil.Process(city.broker.process.pid))
        city.notes.append(f"the broker took {peak} MB")
        if peak > 600:
            city.odd.append(f"the broker took {peak} MB for a queue bounded to 200 MB")
        start(city.centre, CENTRE_IS_UP)
        with city.watched():
            wait_until(lambda: city.metrics().get("schoolpulse_intake_bytes") == 0.0, 300, "the queue is drained")
            city.wait_for_reports()


LATE = {"past": [-5 * DAY, -5 * DAY + 300, 1], "spread": 0.2}
CITY_OF_200 = {"devices": 200, "interval": 5.0, "spread": 5.0}

FAULTS: dict[str, Fault] = {
    "nothing": Fault(lambda city, strikes: time.sleep(strikes), ALL),
    "kill -9 of the agents": Fault(every(City.kill_senders)),
    "kill -9 of the centre": Fault(every(City.kill_centre, (1, 4)), ALL),
    "kill -9 of the broker": Fault(every(City.kill_broker)),
    "kill -9 of the store": Fault(every(City.kill_store, (1, 4)), SERVERS),
    "kill -9 of all at once": Fault(every(City.kill_all, (1, 5)), ALL),
    "broker's files deleted": Fault(every(lose_broker_files)),
    "centre away, broker's queue full": Fault(centre_away, city={"spare": 4}),
    "network cut": Fault(every(cut_network)),
    "3 days cut off, 200 return at once": Fault(
        return_after_three_days, city={**CITY_OF_200, "past": [-3 * DAY, 0, 60]}
    ),
    "receipts lost, 3 of 10": Fault(every(lose_receipts, (0, 0))),
    "messages doubled, swapped, cut short": Fault(every(spoil_messages, (0, 0))),
    "store down": Fault(every(store_down), SERVERS),
    "store slow": Fault(every(store_slow), SERVERS),
    "store's answers lost": Fault(every(lose_store_answers), SERVERS),
    "store refuses one point of a batch": Fault(
        lambda city, strikes: city.wait_for_reports(200 * strikes), ALL, {"poisoned": True}, poison_counted
    ),
    "disk full at the collector": Fault(disk_full("home", 32), ("duckdb", "victoriametrics"), {"home_mb": 32}),
    "disk full at the agents": Fault(disk_full("senders", 8), city={"senders_mb": 8}),
    "a segment on disk damaged": Fault(every(damage_segment)),
    "5 days late, into closed days": Fault(late_replay, ALL, {**LATE, "spare": 10}, days_closed),
    "clock in 1970 at every boot": Fault(every(City.kill_senders), city={"clock": -1_750_000_000}),
    "clock in 2039 at every boot": Fault(every(City.kill_senders), city={"clock": 400_000_000}),
    "clock stepping": Fault(every(clock_steps)),
    "two clones with one id": Fault(clones),
}

ANYTIME: list[Callable[[City], None]] = [
    City.kill_senders,
    City.kill_centre,
    City.kill_broker,
    City.kill_all,
    lose_broker_files,
    cut_network,
    lose_receipts,
    spoil_messages,
    clock_steps,
]
ANYTIME_SERVER = [City.kill_store, store_down, store_slow, lose_store_answers]


def monkey(city: City, seconds: int) -> None:
    end = time.monotonic() + seconds
    faults = ANYTIME + (ANYTIME_SERVER if city.store.program else [])
    while time.monotonic() < end:
        time.sleep(city.chance.uniform(0, 4))
        city.chance.choice(faults)(city)


MONKEY = Fault(monkey, ALL)
