"""Breaks the running product in every way we know and counts what is lost and what is stored twice.

Forty senders of the agent's own Outbox and Link make 400 reports a second through a proxy and a real mosquitto into
``schoolpulse up``. Each row of the table is one fault, struck at seeded random instants; afterwards the senders are let
come to rest, and a ledger that the product knows nothing of is compared with the store, report by report and by value.
``make faults`` prints the table; ``faults.py --strikes 2 ROW ...`` runs some rows shortened.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from proxy import Proxy
from running import Mosquitto, Program, free_port, wait_until

from schoolpulse_agent.outbox import BLOCK
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School

SENDERS = 40
COLUMNS = (("sent", 8), ("stored", 8), ("lost", 6), ("twice", 7), ("wrong", 7), ("dead", 6), ("counted", 9), ("s", 6))
CATCH_UP = 90.0  # seconds the senders may need to come to rest


@dataclass
class Row:
    """What one fault came to."""

    fault: str
    sent: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0  # stored with another value than was sent
    dead: int = 0  # dead letters
    counted: int = 0  # given up at the sender, and counted there
    seconds: float = 0.0  # to catch up


@dataclass
class City:
    """Broker, proxy, centre and senders of one row."""

    folder: Path
    chance: random.Random
    clock: float = 0.0
    kills: int = 0  # of the senders: each may have left one line in the ledger before its append
    given_up: int = 0
    parts: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        registry = Registry(f"sqlite:///{self.home}/registry.sqlite")
        registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
        self.secrets = {f"d{n}": registry.enrol(f"d{n}", "s", "r", f"PC {n}", "lab_pc") for n in range(SENDERS)}
        registry.close()
        self.broker = Mosquitto(self.folder / "broker", {**self.secrets, "collector": "c"})
        self.proxy = Proxy(free_port(), self.broker.port, self.chance.randrange(2**32))
        self.proxy.start()
        (self.folder / "password").write_text("c")
        self.http = str(free_port())
        self.centre = Program(
            [sys.executable, "-m", "schoolpulse_api", "up"],
            self.folder / "centre",
            SP_HOME=str(self.home),
            SP_HTTP_PORT=self.http,
            SP_BROKER=f"mqtt://127.0.0.1:{self.broker.port}",
            SP_BROKER_PASSWORD_FILE=str(self.folder / "password"),
        )
        self.start_senders()
        wait_until(lambda: "sign-in?token=" in self.centre.printed(), 60, "the centre is up")
        wait_until(lambda: self.ledger.exists() and self.ledger.stat().st_size > 20_000, 30, "reports flow")

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def start_senders(self) -> None:
        given = {"folder": str(self.folder / "outboxes"), "port": self.proxy.port, "secrets": self.secrets}
        given |= {"clock": self.clock, "ledger": str(self.ledger)}
        command = [sys.executable, str(Path(__file__).parent / "senders.py"), json.dumps(given)]
        self.senders = Program(command, self.folder / "senders")

    def kill_senders(self) -> None:
        self.senders.kill()
        self.kills += 1
        self.start_senders()

    def kill_centre(self) -> None:
        self.centre.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.centre.start()

    def kill_broker(self) -> None:
        self.broker.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.broker.start()

    def rest(self) -> float:
        """Let the senders send all they hold; return how many seconds that took."""
        start = time.monotonic()
        self.senders.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.senders.process.poll() is not None, CATCH_UP, "the senders came to rest")
        said = json.loads(self.senders.printed().splitlines()[-1])
        assert said["drained"], said
        self.given_up += said["dropped"] + BLOCK * said["damaged"]
        took = time.monotonic() - start
        assert self.centre.stop(seconds=40) == 0, self.centre.printed()[-3000:]
        return took

    def close(self) -> None:
        for part in (self.senders, self.centre, self.broker):
            if part.process.poll() is None:
                part.kill()
        self.proxy.stop()


def compare(city: City, row: Row) -> None:
    """Ledger against store, by (device, epoch, seq) and by value."""
    sent: dict[tuple[str, int, int], float] = {}
    for line in city.ledger.read_text().splitlines():
        device, epoch, seq, value = line.split()
        sent[device, int(epoch), int(seq)] = float(value)
    with duckdb.connect(str(city.home / "samples.duckdb"), read_only=True) as store:
        times = store.execute("select device, epoch::bigint, seq::bigint, t from m.report where device <> 'collector'")
        reports = times.fetchall()
        cpu = store.execute("select device, t, usage_active from m.cpu").fetchall()
    values = {(device, t): value for device, t, value in cpu}
    count = Counter((device, epoch, seq) for device, epoch, seq, _ in reports)
    missing = [key for key in sent if key not in count]
    # A kill between the ledger's line and the append leaves a line that nobody promised: the last of its epoch.
    last = {(device, epoch): seq for device, epoch, seq in sorted(sent)}
    unpromised = [key for key in missing if last[key[:2]] == key[2]][: city.kills]
    row.sent, row.stored = len(sent) - len(unpromised), len(count)
    row.twice = sum(times - 1 for times in count.values())
    row.wrong = sum(values.get((d, t)) != sent.get((d, e, s)) for d, e, s, t in reports if (d, e, s) in sent)
    given_up = len(missing) - len(unpromised)
    row.counted = min(given_up, city.given_up)  # a damaged block is counted as one, and holds up to BLOCK reports
    row.lost = given_up - row.counted
    letters = city.home / "dead-letters.jsonl"
    row.dead = len(letters.read_text().splitlines()) if letters.exists() else 0


def every(strike: Callable[[City], None], pause: tuple[float, float] = (0.5, 2.5)) -> Callable[[City, int], None]:
    """A fault that strikes so many times at random instants."""

    def run(city: City, strikes: int) -> None:
        for _ in range(strikes):
            time.sleep(city.chance.uniform(*pause))
            strike(city)
        time.sleep(1)

    return run


def kill_all(city: City) -> None:
    for part in (city.broker, city.centre, city.senders):
        part.kill()
    city.kills += 1
    city.broker.start()
    city.centre.start()
    city.start_senders()


def lose_broker_files(city: City) -> None:
    city.broker.kill()
    for path in (city.folder / "broker").glob("*.db*"):
        path.unlink()
    city.broker.start()


def cut_network(city: City) -> None:
    city.proxy.cut()
    time.sleep(city.chance.uniform(1, 4))
    city.proxy.mend()


def lose_receipts(city: City, strikes: int) -> None:
    city.proxy.down = city.proxy.lose
    time.sleep(2 * strikes)
    city.proxy.down = city.proxy.pass_on


def spoil_messages(city: City, strikes: int) -> None:
    city.proxy.up = city.proxy.spoil
    time.sleep(2 * strikes)
    city.proxy.up = city.proxy.pass_on


def damage_segments(city: City) -> None:
    """Flip a bit or cut a tail off in what an outbox has on disk: what it held there can be lost, but is counted."""
    city.proxy.cut()
    time.sleep(1)
    city.senders.stop()  # all goes to disk
    said = json.loads(city.senders.printed().splitlines()[-1])
    city.given_up += said["dropped"] + BLOCK * said["damaged"]
    path = city.chance.choice(sorted((city.folder / "outboxes").glob("d*/*.seg")))
    data = bytearray(path.read_bytes())
    at = city.chance.randrange(len(data))
    data[at] ^= 1 << city.chance.randrange(8)
    path.write_bytes(data)
    city.proxy.mend()
    city.start_senders()


ROWS: dict[str, tuple[float, Callable[[City, int], None]]] = {
    "nothing": (0, lambda city, strikes: time.sleep(strikes)),
    "kill -9 of the senders": (0, every(City.kill_senders)),
    "kill -9 of the centre": (0, every(City.kill_centre, (1, 4))),
    "kill -9 of the broker": (0, every(City.kill_broker)),
    "kill -9 of all at once": (0, every(kill_all, (1, 5))),
    "broker's files deleted": (0, every(lose_broker_files)),
    "network cut": (0, every(cut_network)),
    "receipts lost, 3 of 10": (0, lose_receipts),
    "messages doubled, swapped, cut short": (0, spoil_messages),
    "a segment on disk damaged": (0, every(damage_segments)),
    "clock in 1970, senders killed": (-1_750_000_000, every(City.kill_senders)),
    "clock in 2039, senders killed": (400_000_000, every(City.kill_senders)),
}


def strike(name: str, strikes: int, seed: int) -> Row:
    """Run one row; its files are kept only if it failed."""
    clock, fault = ROWS[name]
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    row = Row(name)
    city = City(folder, random.Random(f"{seed} {name}"), clock)
    try:
        fault(city, strikes)
        row.seconds = city.rest()
        compare(city, row)
    finally:
        city.close()
    if not (row.lost or row.twice or row.wrong):
        shutil.rmtree(folder)
    else:
        print(f"the files are in {folder}", file=sys.stderr)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which faults (default: all of {', '.join(ROWS)})")
    parser.add_argument("--strikes", type=int, default=10, help="how often each fault strikes (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="decides the instants")
    args = parser.parse_args()
    names = args.rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")
    print(
        f"{'fault':38}{'sent':>8}{'stored':>8}{'lost':>6}{'twice':>7}{'wrong':>7}{'dead':>6}{'counted':>9}{'s':>6}",
        flush=True,
    )
    bad = 0
    lost = twice = 0
    for name in names:
        row = strike(name, args.strikes, args.seed)
        values = (*astuple(row)[1:-1], round(row.seconds, 1))
        cells = "".join(f"{value:>{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))
        print(f"{row.fault:38}{cells}", flush=True)
        lost, twice, bad = lost + row.lost, twice + row.twice, bad + row.wrong + (row.sent < 300)
    print(f"faults: {len(names)} rows, {lost} lost, {twice} twice")
    return 1 if lost or twice or bad else 0


if __name__ == "__main__":
    sys.exit(main())
