"""A running centre with a broker, a store and many senders, all of which can be broken; and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from proxy import Proxy
from running import Mosquitto, Program, free_port, wait_until
from storeservers import STORES

from schoolpulse_agent.outbox import BLOCK
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School

CATCH_UP = 240.0  # seconds the senders may need to come to rest
CENTRE_IS_UP, SENDERS_ARE_UP = "one-time sign-in", "ready"
ENOUGH = 150_000  # bytes of ledger, about 4,000 reports
SETTLES = 18.0  # seconds after which the shipper has noticed a restart of the store, or let go of what it wrote


@dataclass
class Row:
    """What one fault came to on one store."""

    fault: str
    store: str
    sent: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0  # stored with another value than was sent
    dead: int = 0  # dead letters
    counted: int = 0  # given up at the sender, and counted there
    seconds: float = 0.0  # to catch up
    faults: list[str] = field(default_factory=list)  # what else was not as it should be


class City:
    """Broker, proxy, centre, store and senders of one row. ``senders``: what differs from ``senders.GIVEN``."""

    def __init__(
        self,
        folder: Path,
        store: str,
        seed: str,
        devices: int = 40,
        spare: int = 0,  # devices that are enrolled, for a fault's own use
        poisoned: bool = False,  # some reports hold what the store will refuse
        home_mb: int = 0,  # the centre's disk, if it is a small one
        senders_mb: int = 0,
        **senders: Any,
    ) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.kills = self.given_up = 0  # of senders: each kill may have left one line in the ledger before its append
        self.odd: list[str] = []  # what was noticed on the way and should not be
        self.notes: list[str] = []  # what is worth saying
        self.home, self.ledger = folder / "home", folder / "ledger"
        for place, megabytes in ((self.home, home_mb), (folder / "senders", senders_mb)):
            place.mkdir(parents=True)
            if megabytes:
                small_disk(place, megabytes)
        registry = Registry(f"sqlite:///{self.home}/registry.sqlite")
        registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
        self.secrets, self.spare = (
            {f"{name}{n}": registry.enrol(f"{name}{n}", "s", "r", f"PC {n}", "lab_pc") for n in range(count)}
            for name, count in (("d", devices), ("spare", spare))
        )
        registry.close()
        self.store = STORES[store](folder)
        self.broker = Mosquitto(folder / "broker", {**self.secrets, **self.spare, "collector": "c"})
        self.proxy = Proxy(free_port(), self.broker.port, self.chance.randrange(2**32))
        self.proxy.start()
        (folder / "password").write_text("c")
        http = free_port()
        self._url = f"http://127.0.0.1:{http}"
        self.centre = Program(
            [sys.executable, str(Path(__file__).parent / "centre.py"), "up"],
            folder / "centre",
            SP_HOME=str(self.home),
            SP_HTTP_PORT=str(http),
            SP_BROKER=f"mqtt://127.0.0.1:{self.broker.port}",
            SP_BROKER_PASSWORD_FILE=str(folder / "password"),
            SP_STORE=self.store.url,
            SP_REPLAY_RATE="20",
        )
        self.more_senders: list[Program] = []
        if poisoned:
            senders["poison"] = self.store.poison
        self.senders = self.sender_program("senders", senders)
        try:
            said(self.centre, CENTRE_IS_UP, 0)
            said(self.senders, SENDERS_ARE_UP, 0)
            self.wait_for_reports()
        except AssertionError:
            print(self.centre.printed()[-2000:], self.senders.printed()[-2000:], file=sys.stderr)
            self.close()
            raise

    def sender_program(self, name: str, different: dict[str, Any]) -> Program:
        """One more process of senders, with its own outboxes and the same ledger."""
        given = {"folder": str(self.folder / name), "ledger": str(self.ledger), "port": self.proxy.port}
        given |= {"secrets": self.secrets, **different}
        command = [sys.executable, str(Path(__file__).parent / "senders.py"), json.dumps(given)]
        return Program(command, self.folder / f"{name}-log")

    def wait_for_reports(self, reports: int = 500) -> None:
        """Return when so many more were measured."""
        before = self.ledger.stat().st_size if self.ledger.exists() else 0
        wait_until(
            lambda: self.ledger.exists() and self.ledger.stat().st_size > before + 30 * reports, 60, "reports flow"
        )

    def metrics(self) -> dict[str, float]:
        """What the centre says of itself."""
        text = httpx.get(f"{self._url}/metrics", headers=self._script(), timeout=20).text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note as odd every device of which the centre says, in this time, that it is gone."""
        gone: list[str] = []
        ready, end = threading.Event(), threading.Event()

        def listen() -> None:
            with httpx.stream("GET", f"{self._url}/api/v1/stream", headers=self._script(), timeout=30) as stream:
                ready.set()
                for line in stream.iter_lines():
                    if '"state": "off' in line:
                        gone.append(line)
                    if end.is_set():
                        return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        assert ready.wait(20), "the centre's stream opens"
        yield
        end.set()
        listener.join(20)
        if gone:
            self.odd.append(f"{len(gone)} times a device was called gone, as {gone[0][:200]}")

    def _script(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.home / 'token').read_text().strip()}"}

    def kill_senders(self) -> None:
        self.senders.kill()
        self.kills += 1
        start(self.senders, SENDERS_ARE_UP)

    def kill_centre(self) -> None:
        self.centre.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.centre.start()

    def kill_broker(self) -> None:
        self.broker.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.broker.start()

    def kill_store(self) -> None:
        assert self.store.program, "an embedded store is killed with its centre"
        self.store.program.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.store.program.start()

    def kill_all(self) -> None:
        parts = [part for part in (self.broker, self.store.program, self.centre, self.senders) if part]
        for part in parts:
            part.kill()
        self.kills += 1
        for part in parts[:-1]:
            part.start()
        start(self.senders, SENDERS_ARE_UP)

    def rest(self) -> float:
        """Let the senders send all they hold; return how many seconds that took."""
        wait_until(lambda: self.ledger.stat().st_size > ENOUGH, 120, "enough was sent to fill a segment of the spool")
        start = time.monotonic()
        for program in (self.senders, *self.more_senders):
            said(program, SENDERS_ARE_UP, 0)
            program.process.send_signal(signal.SIGUSR1)
        for program in (self.senders, *self.more_senders):
            wait_until(lambda one=program: one.process.poll() is not None, CATCH_UP, "the senders came to rest")
            ended = json.loads(program.printed().splitlines()[-1])
            assert ended["drained"], ended
            self.given_up += ended["dropped"] + BLOCK * ended["damaged"]
        took = time.monotonic() - start
        if self.store.program:
            time.sleep(SETTLES)
        assert self.centre.stop(seconds=60) == 0, self.centre.printed()[-3000:]
        return took

    def compare(self, row: Row) -> None:
        """Ledger against store, by (device, epoch, seq) and by value."""
        sent: dict[tuple[str, int, int], float] = {}
        for line in self.ledger.read_text().splitlines():
            device, epoch, seq, value = line.split()
            sent[device, int(epoch), int(seq)] = float(value)
        reports, samples = self.store.read()
        values = defaultdict(set)  # two clones may have measured in the same millisecond
        for device, t, value in samples:
            values[device, t].add(value)
        first = min(int(path.stem) for path in (self.home / "spool").glob("*.spool"))
        if first == 1:
            row.faults.append("the spool let go of nothing, so nothing was shown")
        # What a flood repeats to fill the broker is report 1 of epoch 1, and in no ledger.
        reports = [report for report in reports if report[0] != "collector" and report[1:3] != (1, 1)]
        count = Counter((device, epoch, seq) for device, epoch, seq, _ in reports)
        missing = [key for key in sent if key not in count]
        # A kill between the ledger's line and the append leaves a line that nobody promised: the last of its epoch.
        last = {(device, epoch): seq for device, epoch, seq in sorted(sent)}
        unpromised = [key for key in missing if last[key[:2]] == key[2]][: self.kills]
        row.sent, row.stored = len(sent) - len(unpromised), len(count)
        row.twice = sum(times - 1 for times in count.values())
        row.twice += sum(times - 1 for times in Counter((device, t, value) for device, t, value in samples).values())
        row.wrong = sum(sent[d, e, s] not in values[d, t] for d, e, s, t in reports if (d, e, s) in sent)
        given_up = len(missing) - len(unpromised)
        row.counted = min(given_up, self.given_up)  # a damaged block is counted as one, and holds up to BLOCK reports
        row.lost = given_up - row.counted
        letters = self.home / "dead-letters.jsonl"
        row.dead = len(letters.read_text().splitlines()) if letters.exists() else 0
        row.faults += self.odd
        if unknown := count.keys() - sent.keys():
            row.faults.append(f"{len(unknown)} stored that nobody sent, as {next(iter(unknown))}")

    def close(self) -> None:
        for part in (self.senders, *self.more_senders, self.centre, self.store.program, self.broker):
            if part and part.process.poll() is None:
                part.kill()
        self.proxy.stop()
        if self.store.proxy:
            self.store.proxy.stop()
        small = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in small:
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", place], check=True)


def start(program: Program, words: str) -> None:
    """Start a program again, and return when it has said that it is up."""
    before = program.printed().count(words)
    program.start()
    said(program, words, before)


def said(program: Program, words: str, before: int) -> None:
    """Return when a program has said this more often than before."""
    wait_until(lambda: program.printed().count(words) > before, 300, f"a program says {words!r}")


def small_disk(place: Path, megabytes: int) -> None:
    """A file system of so many megabytes at this empty folder. Needs root."""
    if os.geteuid():
        raise PermissionError("a row with a full disk mounts a small file system: run it as root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
