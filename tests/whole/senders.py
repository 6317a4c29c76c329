"""Many senders of the agent's own Outbox and Link in one process, with a ledger beside them.

Argument: JSON of folder, ledger, port, secrets, and what differs from the usual (``GIVEN``). A line stands in the
ledger, synced, before each append. SIGUSR1: measure nothing more, send what is held, then end. SIGUSR2: the machine's
clock steps.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from schoolpulse_agent import settings
from schoolpulse_agent.agent import Agent, Stop, run
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.wallclock import WallClock

GIVEN: dict[str, Any] = {
    "interval": 0.1,  # seconds
    "clock": 0.0,  # seconds that the machine's clock is off
    "past": [],  # [from, to, step] seconds: an earlier start measured then, and could send nothing
    "poison": [],  # [group, field]: every 50th report has one more group, which the store will refuse
    "spread": 1.0,  # seconds
}


class Ledgered(Outbox):
    """An outbox whose promises are written down by somebody else first."""

    ledger: int
    poison: tuple[str, str] | None = None
    value = 0.0

    def append(self, t, up, m, child=None):
        Ledgered.value += 1.0
        m["cpu"] = {"usage_active": Ledgered.value}
        if self.poison and Ledgered.value % 50 == 0:
            m[self.poison[0]] = {self.poison[1]: 1.0}
        self.promise([Ledgered.value])
        return super().append(t, up, m, child)

    def promise(self, values: list[float]) -> None:
        lines = (f"{self.folder.name} {self.epoch} {self._seq + n} {value}\n" for n, value in enumerate(values, 1))
        os.write(self.ledger, "".join(lines).encode())
        os.fdatasync(self.ledger)

    def fill(self, times: list[float]) -> None:
        """What an earlier start measured at these times and left on disk."""
        values = [Ledgered.value + n for n in range(1, len(times) + 1)]
        self.promise(values)
        for t, value in zip(times, values, strict=True):
            Outbox.append(self, int(t * 1000), 1.0, {"cpu": {"usage_active": value}})
        Ledgered.value = values[-1]
        self.close()


class Sender(Agent):
    """An agent that measures often and can be told to stop measuring."""

    measuring = True

    def sample(self) -> None:
        if Sender.measuring:
            super().sample()


def main() -> None:
    given = {**GIVEN, **json.loads(sys.argv[1])}
    folder, step = Path(given["folder"]), [given["clock"]]
    Ledgered.ledger = os.open(given["ledger"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    Ledgered.value = random.randrange(10**9) * 1000.0  # of one process alone
    Ledgered.poison = tuple(given["poison"]) or None
    senders = []
    for number, (device, secret) in enumerate(given["secrets"].items()):
        document = {
            "device": {"id": device, "school": "s", "secret": secret},
            "broker": {"url": f"mqtt://127.0.0.1:{given['port']}"},
            "reports": {"interval": max(1, given["interval"]), "replay_spread": given["spread"], "replay_rate": 20},
        }
        place = folder / device, folder / "live" / device
        if given["past"]:
            first, last, step_s = given["past"]
            now = time.time() + number * 0.001
            Ledgered(*place).fill([now + t for t in range(first, last, step_s)])
        outbox = Ledgered(*place)
        clock = WallClock(lambda: time.time() + step[0])
        link = Link(settings.parse(document, "senders"), outbox, clock)
        senders.append(Sender(dict, outbox, link, given["interval"]))
    print("ready", flush=True)
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(Sender, "measuring", False))
    signal.signal(signal.SIGUSR2, lambda *_: step.__setitem__(0, given["clock"] + random.uniform(-7200, 600)))

    drained = False
    work, looked = senders[0].work, time.monotonic()

    def work_and_look() -> None:
        nonlocal drained, looked
        work()
        if not Sender.measuring and time.monotonic() - looked > 0.1:
            looked = time.monotonic()
            if not any(sender.outbox.held() for sender in senders):
                drained = True
                stop.set()

    senders[0].work = work_and_look
    run(senders, stop)
    dropped = sum(sender.outbox.dropped for sender in senders)
    damaged = sum(sender.outbox.damaged for sender in senders)
    print(json.dumps({"drained": drained, "dropped": dropped, "damaged": damaged}), flush=True)


if __name__ == "__main__":
    main()
