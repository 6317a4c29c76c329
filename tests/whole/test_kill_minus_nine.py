"""kill -9 of the whole program, ten times, at random instants: no report is lost and none is stored twice."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import httpx
import pytest
from running import Demo, wait_until

from schoolpulse_agent.segment import Segment

# The product as it is, and a ledger that it knows nothing of: a line for each report an outbox promised to keep.
WITH_LEDGER = """
import os, sys
from pathlib import Path
from schoolpulse_agent.outbox import Outbox
ledger = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
append = Outbox.append
def noted(self, t, *rest):
    seq = append(self, t, *rest)
    os.write(ledger, f"{self.folder.name} {self.epoch} {seq} {t}\\n".encode())
    return seq
Outbox.append = noted
from schoolpulse_api.__main__ import main
"""


def test_ten_kills_at_random_instants_lose_nothing_and_store_nothing_twice(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, kills=10, seed=20261123)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_forty_kills_lose_nothing_either(tmp_path: Path, seed: int) -> None:
    kill_and_compare(tmp_path, kills=40, seed=seed)


def kill_and_compare(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill the program so often, let it come to rest, and compare the senders' ledger with the store."""
    chance = random.Random(seed)
    ledger = tmp_path / "ledger"
    program = WITH_LEDGER + "sys.exit(main(['up', '--demo']))"
    command = [sys.executable, "-c", program, str(ledger)]
    for _ in range(kills):
        running = Demo(tmp_path, command)
        wait_until(
            lambda running=running: running.process.poll() is not None or (running.home / "agents").exists(),
            60,
            "it starts",
        )
        time.sleep(chance.uniform(0, 12))
        assert running.process.poll() is None, running.printed()[-3000:]
        running.kill()
    last = Demo(tmp_path, command).ready()
    with last.client() as client:
        wait_until(lambda: _nothing_waits(client), 90, "every sender's backlog was receipted")
    assert last.stop() == 0, last.printed()[-3000:]

    held = set()  # what a clean stop had no time to send any more: it would go out at the next start
    for path in (tmp_path / "home/agents").rglob("*.seg"):
        opened = Segment.open(path)
        assert opened
        held |= {(path.parent.name, str(opened[0].epoch), str(seq)) for seq in opened[0].held.numbers()}
    assert len(held) < 41
    promised = {tuple(line.split()) for line in ledger.read_text().splitlines()}
    with duckdb.connect(str(tmp_path / "home/samples.duckdb"), read_only=True) as store:
        rows = store.execute("select device, epoch::bigint, seq::bigint, t from m.report").fetchall()
        values = store.execute("select count(*) from m.cpu where usage_active is not null").fetchone()
    stored = Counter(tuple(map(str, row)) for row in rows)
    assert len({(device, epoch) for device, epoch, *_ in promised}) > 41, "the kills came too early to mean anything"
    lost = {key for key in promised - stored.keys() if key[:3] not in held}
    assert lost == set()
    assert [key for key, times in stored.items() if times > 1] == [], "stored twice"
    assert values and values[0] >= len(promised) * 0.9  # and with what they measured, not only their numbers


def _nothing_waits(client: httpx.Client) -> bool:
    """Whether each sender of this start has said that it held nothing when it wrote its last report."""
    devices = [
        client.get(f"/api/v1/devices/{each['id']}").json() for each in client.get("/api/v1/devices").json()["items"]
    ]
    reports = [each["latest"].get("agent", {"t": 0, "fields": {}}) for each in devices]
    return all(time.time() - each["t"] / 1000 < 15 and each["fields"].get("waiting") == 0 for each in reports)
