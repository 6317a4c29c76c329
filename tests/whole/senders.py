"""Forty senders of the agent's own Outbox and Link in one process, 400 reports a second, with a ledger beside them.

Arguments: JSON of folder, port, secrets, clock (seconds added to this machine's), ledger. A line stands in the ledger,
synced, before each append. SIGUSR1: measure nothing more, send what is held, then end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from schoolpulse_agent import settings
from schoolpulse_agent.agent import Agent, Stop, run
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.wallclock import WallClock

INTERVAL = 0.1


class Ledgered(Outbox):
    """An outbox whose promises are written down by somebody else first."""

    ledger: int
    value = 0.0

    def append(self, t, up, m, child=None):
        seq = self._seq + 1
        Ledgered.value += 1.0
        m["cpu"] = {"usage_active": Ledgered.value}
        os.write(self.ledger, f"{self.folder.name} {self.epoch} {seq} {Ledgered.value}\n".encode())
        os.fdatasync(self.ledger)
        return super().append(t, up, m, child)


class Sender(Agent):
    """An agent that measures often and can be told to stop measuring."""

    measuring = True

    def sample(self) -> None:
        if Sender.measuring:
            super().sample()


def main() -> None:
    given = json.loads(sys.argv[1])
    Ledgered.ledger = os.open(given["ledger"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    senders = []
    for device, secret in given["secrets"].items():
        document = {
            "device": {"id": device, "school": "s", "secret": secret},
            "broker": {"url": f"mqtt://127.0.0.1:{given['port']}"},
            "reports": {"interval": 1, "replay_spread": 1, "replay_rate": 20},
        }
        outbox = Ledgered(Path(given["folder"]) / device, Path(given["folder"]) / "live" / device)
        clock = WallClock(lambda: time.time() + given["clock"])
        link = Link(settings.parse(document, "senders"), outbox, clock)
        senders.append(Sender(dict, outbox, link, INTERVAL))
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(Sender, "measuring", False))

    drained = False
    work = senders[0].work

    def work_and_look() -> None:
        nonlocal drained
        work()
        if not Sender.measuring and not any(sender.outbox.held() for sender in senders):
            drained = True
            stop.set()

    senders[0].work = work_and_look
    run(senders, stop)
    dropped = sum(sender.outbox.dropped for sender in senders)
    damaged = sum(sender.outbox.damaged for sender in senders)
    print(json.dumps({"drained": drained, "dropped": dropped, "damaged": damaged}), flush=True)


if __name__ == "__main__":
    main()
