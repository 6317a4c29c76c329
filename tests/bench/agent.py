"""What the agent costs the machine it runs on, beside four others that do the like.

    python tests/bench/agent.py --reports 20 --interval 5 --minutes 5

The agent runs as it is installed: the system's Python without its site packages, the agent and its libraries from a
folder of their own, TLS to a real mosquitto, and somebody who answers its reports with receipts as the collector does.
Prints a table and writes ``bench/agent.json``. ``--minutes 0``: nothing is measured at the interval of 60 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from brokers import Mosquitto
from footprint import held, spent, touched
from heard import Heard
from installed import SYSTEM, Installed, memory_folder, prompt_name
from receipts import Receipts
from results import FOLDER, Result, machine, report, result
from running import ROOT, Program, free_port, wait_until

OURS = "schoolpulse-agent"
MINUTE = 60.0  # seconds between two reports as it is installed
TARGETS = {  # of ours
    "CPU, a report": 2.5,
    "bytes, a report": 700.0,
    "memory, PSS": 16.0,
    "threads": 1.0,
    "ports that others can reach": 0.0,
    "written to the disk": 0.0,
    "files of its folder touched": 0.0,
    "start until it connects": 120.0,
}


class Measured:
    """Each number under the name of the agent that it is of."""

    def __init__(self, who: str, targets: dict[str, float]) -> None:
        self.who, self._targets = who, targets
        self.results: list[Result] = []

    def add(self, name: str, value: float, unit: str = "", target: float | None = None) -> None:
        """``target``: None: what stands in the list of targets."""
        target = self._targets.get(name) if target is None else target
        self.results.append(result(f"{self.who}: {name}", value, unit, target))


def observe(into: Measured, pid: int, heard: Heard, reports: int, interval: float) -> None:
    """So many intervals of a program that has begun to report, from shortly after a report on."""
    before = heard.count.reports
    wait_until(lambda: heard.count.reports > before, 3 * interval + 10, f"a report of {into.who}")
    time.sleep(min(1.0, interval / 4))
    first, sent, began = spent(pid), heard.count, time.monotonic()
    time.sleep(reports * interval)
    taken = time.monotonic() - began
    last, now, memory = spent(pid), heard.count, held(pid)
    cpu, values = 1000 * (last.cpu - first.cpu) / reports, (now.values - sent.values) / reports
    assert values, f"{into.who} has sent nothing in {taken:.0f} s"
    into.add("CPU, a report", cpu, "ms")
    into.add("values, a report", values)
    into.add("CPU, a value", 1000 * cpu / values, "µs")
    into.add("bytes, a report", (now.size - sent.size) / reports, "B")
    into.add("memory, RSS", memory.rss, "MB")
    into.add("memory, PSS", memory.pss, "MB")
    into.add("threads", memory.threads)
    into.add("processes", memory.processes)
    into.add("wake-ups a second", (last.wakeups - first.wakeups) / taken)
    into.add("ports that others can reach", memory.ports)
    into.add("written to the disk", (last.written - first.written) / 1000, "kB")
    into.add("CPU before: start and first reports", 1000 * first.cpu, "ms")


class Ours:
    """Our agent, its broker, and who answers it."""

    def __init__(self, installed: Installed, folder: Path, memory: Path, parts: ExitStack) -> None:
        self._installed, self._memory = installed, memory
        self._secrets = {prompt_name(kind): f"secret-{kind}" for kind in ("often", "minutely", "start")}
        self._often, self._minutely, self._start = self._secrets
        self._broker = Mosquitto(folder, self._secrets)
        parts.callback(self._broker.stop)
        self._collector = Receipts(self._broker)
        parts.callback(self._collector.close)

    def often(self, reports: int, interval: float) -> list[Result]:
        """At a short interval, so that there are many reports."""
        into = Measured(OURS, TARGETS)
        program, state = self._begin(self._often, interval)
        self._warm(self._often)
        before = touched(state)
        observe(into, program.process.pid, self._collector.heard[self._often], reports, interval)
        changed = before.items() ^ touched(state).items()
        into.add("files of its folder touched", len({path for path, _ in changed}))
        program.stop()
        times = self._installed.start_times(self._settings(self._start, interval, port := free_port()), port, self._memory, 7)
        into.add("start until it connects", statistics.median(times), "ms")
        return into.results

    def minutely(self, minutes: int) -> list[Result]:
        """As it is installed: a report every 60 s."""
        into = Measured(OURS, {})
        program, _ = self._begin(self._minutely, MINUTE)
        self._warm(self._minutely, MINUTE)
        own = Measured(OURS, {"CPU, a report": 2.5, "memory, PSS": 16.0, "wake-ups a second": 0.1})
        observe(own, program.process.pid, self._collector.heard[self._minutely], minutes, MINUTE)
        program.stop()
        del into
        kept = [each for each in own.results if each.target is not None]
        return [Result(f"{each.name}, every 60 s", each.value, each.unit, each.target, each.ok) for each in kept]

    def probes(self, reads: int) -> dict[str, tuple[float, int]]:
        """What each probe costs by itself."""
        return self._installed.probes(self._settings(self._start, MINUTE, self._broker.port), reads)

    def _settings(self, device: str, interval: float, port: int) -> Path:
        return self._installed.settings(device, self._secrets[device], port, self._broker.ca, interval)

    def _begin(self, device: str, interval: float) -> tuple[Program, Path]:
        path = self._settings(device, interval, self._broker.port)
        return self._installed.start(path, self._memory / device), path.parent / "state"

    def _warm(self, device: str, interval: float = 0.0) -> None:
        """Until the inventory is known and reports come."""

        def warm() -> bool:
            return device in self._collector.inventories and device in self._collector.heard

        wait_until(warm, 30 + 2 * interval, f"first report and inventory of {device}")


def main() -> int:
    """0: everything as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="PATH", help="the checkout whose agent is measured")
    parser.add_argument("--python", default=SYSTEM, metavar="PATH", help=f"that runs it; default: {SYSTEM}")
    parser.add_argument("--reports", type=int, default=20, help="of each agent that are measured")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between them")
    parser.add_argument("--minutes", type=int, default=5, help="of our agent with a report every 60 s; 0: none")
    parser.add_argument("--probes", type=int, default=0, metavar="READS", help="print what each probe costs")
    parser.add_argument("--out", type=Path, default=FOLDER / "agent.json")
    asked = parser.parse_args()
    on = machine()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        memory = Path(parts.enter_context(tempfile.TemporaryDirectory(dir=memory_folder())))
        installed = Installed(asked.tree, folder / "installed", asked.python)
        ours = Ours(installed, folder, memory, parts)
        results = ours.often(asked.reports, asked.interval)
        if asked.minutes:
            results += ours.minutely(asked.minutes)
        costs = ours.probes(asked.probes) if asked.probes else {}
    title = f"{asked.reports} reports, one every {asked.interval:g} s"
    size = {"reports": asked.reports, "interval_s": asked.interval, "minutes": asked.minutes}
    code = report(title, results, asked.out, on | size)
    for name, (cost, values) in sorted(costs.items(), key=lambda each: -each[1][0]):
        print(f"  probe {name:20} {cost:8.3f} ms {values:5} values")
    return code


if __name__ == "__main__":
    sys.exit(main())
