"""The faults of ``make faults``, shortened; and that the comparison would notice what it is there to notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from running import ROOT

FAULTS = ROOT / "tests/whole/faults.py"


def run(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FAULTS, *arguments], capture_output=True, text=True, timeout=seconds)


SHORTENED = {
    "kill -9 of all at once": "duckdb",
    "kill -9 of the store": "victoriametrics",
    "receipts lost, 3 of 10": "duckdb",
    "messages doubled, swapped, cut short": "duckdb",
    "store refuses one point of a batch": "influxdb",
    "5 days late, into closed days": "duckdb",
}


@pytest.mark.parametrize("row", SHORTENED)
def test_a_fault_costs_nothing_and_doubles_nothing(row: str) -> None:
    ended = run("--strikes", "2", "--row", row, "--store", SHORTENED[row], seconds=170)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "faults: 1 rows, 0 lost, 0 twice"


class Mutation(NamedTuple):
    """A promise broken on purpose, and the row that must notice."""

    file: str
    right: str
    wrong: str
    row: str
    store: str


MUTATIONS = {
    "receipts are promised before they are kept": Mutation(
        "agent/schoolpulse_agent/link.py",
        'self._client.publish(wire.up_topic(self.school, self.device, "report"), body, qos=1)',
        'self._client.publish(wire.up_topic(self.school, self.device, "report"), body, qos=1)\n'
        "            self.outbox.receipt({epoch: taken})",
        "kill -9 of all at once",
        "duckdb",
    ),
    "nobody remembers what has arrived": Mutation(
        "collector/schoolpulse_collector/received.py",
        "return ranges is not None and seq in ranges",
        "return False",
        "receipts lost, 3 of 10",
        "duckdb",
    ),
    "what a server may have lost is not written again": Mutation(
        "collector/schoolpulse_collector/shipper.py",
        "self.place = self._settled\n        self._run",
        "pass\n        self._run",
        "kill -9 of the store",
        "victoriametrics",
    ),
}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_product_that_breaks_its_promise_turns_the_table_red(name: str, tmp_path: Path) -> None:
    broken = MUTATIONS[name]
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "copy"], check=True)
    source = tmp_path / "copy" / broken.file
    assert broken.right in source.read_text()
    source.write_text(source.read_text().replace(broken.right, broken.wrong))
    paths = ":".join(str(tmp_path / "copy" / part) for part in ("agent", "collector", "dashboards", "api"))
    only = ["--row", broken.row, "--store", broken.store]
    ended = subprocess.run(
        [sys.executable, tmp_path / "copy/tests/whole/faults.py", "--strikes", "4", *only],
        capture_output=True,
        text=True,
        timeout=500,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin:/usr/sbin"},
    )
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("faults: 1 rows") and last != "faults: 1 rows, 0 lost, 0 twice", ended.stdout + ended.stderr
    assert ended.returncode == 1
