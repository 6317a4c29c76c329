"""What the agent costs the machine it runs on, beside four others that do the like.

    python tests/bench/agent.py --reports 15 --interval 5 --minutes 5

The agent runs as it is installed: the system's Python without its site packages, the agent and its libraries from a
folder of their own, TLS to a real mosquitto, and somebody who answers its reports with receipts as the collector does.
Prints a table and writes ``bench/agent.json``. Linux only; a peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from answering_agents import Receipts
from brokers import Mosquitto
from footprint import held, touched, unshared_python
from installed import SYSTEM, Installed, memory_folder, prompt_name
from observed import CPU, MEMORY, WAKEUPS, observe
from peers import PEERS
from results import FOLDER, Result, machine, report, result
from running import ROOT, Program, free_port, wait_until
from tables import table

OURS = "schoolpulse-agent"
MINUTE = 60.0  # seconds between two reports unless the settings say otherwise
SETTLE = 15.0  # seconds that a peer gets to start: netdata says nothing in the first 10
STARTS = 9
TARGETS = {
    CPU: 2.5,
    "bytes, a report": 700.0,
    MEMORY: 16.0,
    "threads": 1.0,
    "ports that can be reached": 0.0,
    "written to the disk, a report": 0.0,
}
MINUTELY = {CPU: 2.5, MEMORY: 16.0, WAKEUPS: 0.1}


class Ours:
    """Our agent, its broker, and who answers it."""

    def __init__(self, installed: Installed, folder: Path, memory: Path, parts: ExitStack) -> None:
        self._installed, self._memory, self._parts = installed, memory, parts
        self._often, self._minutely, self._started = names = [prompt_name(kind) for kind in ("often", "minutely", "pc")]
        self._secrets = {name: f"secret-of-{name}" for name in names}
        self._broker = Mosquitto(folder, self._secrets)
        parts.callback(self._broker.stop)
        self._collector = Receipts(self._broker)
        parts.callback(self._collector.close)

    def often(self, reports: int, interval: float) -> list[Result]:
        """At a short interval, so that there are many reports; and how long it takes to start."""
        program = self._begin(self._often, interval)
        state = self._installed.state(self._often)
        before = touched(state)
        seen = observe(OURS, program.process.pid, self._collector.heard[self._often], reports, interval)
        changed = {path for path, _ in before.items() ^ touched(state).items()}
        pid = program.process.pid
        alone = held(pid).pss + unshared_python(pid)
        program.stop()
        port = free_port()
        times = self._installed.start_times(self._settings(self._started, interval, port), port, self._memory, STARTS)
        return [
            *aimed(seen, TARGETS),
            result(f"{OURS}: {MEMORY}, if nothing else runs Python", alone, "MB"),
            result(f"{OURS}: files of its folder touched", len(changed), "", 0),
            result(f"{OURS}: start until it connects, median", statistics.median(times), "ms", 120),
        ]

    def minutely(self, minutes: int) -> list[Result]:
        """With a report every 60 s, as it is installed: what has a target there."""
        program = self._begin(self._minutely, MINUTE)
        seen = observe(OURS, program.process.pid, self._collector.heard[self._minutely], minutes, MINUTE)
        program.stop()
        seen = [each for each in aimed(seen, MINUTELY) if each.target is not None]
        return [Result(**{**asdict(each), "name": f"{each.name}, every 60 s"}) for each in seen]

    def probes(self, reads: int) -> dict[str, tuple[float, int]]:
        """CPU milliseconds of each probe by itself, and the values it gives."""
        return self._installed.probes(self._settings(self._started, MINUTE, self._broker.port), reads)

    def _settings(self, device: str, interval: float, port: int) -> Path:
        return self._installed.settings(device, self._secrets[device], port, self._broker.ca, interval)

    def _begin(self, device: str, interval: float) -> Program:
        """Start it and wait until its inventory is known and it reports."""
        settings = self._settings(device, interval, self._broker.port)
        program = self._installed.start(settings, self._memory / device)
        self._parts.callback(program.stop)
        came = self._collector
        wait_until(lambda: device in came.inventories and device in came.heard, 30 + 2 * interval, "inventory, report")
        return program


def aimed(results: Sequence[Result], targets: dict[str, float]) -> list[Result]:
    """The same with targets."""
    return [
        result(each.name, each.value, each.unit, targets.get(each.name.removeprefix(f"{OURS}: "))) for each in results
    ]


def beside(names: Sequence[str], reports: int, interval: float, folder: Path, memory: Path) -> list[Result]:
    """Each peer by itself, one after the other; says which can't be had."""
    results = []
    for name in names:
        try:
            peer = PEERS[name](folder / name, memory / name, interval)
        except LookupError as why:
            print(f"{name} is left out: {why}", file=sys.stderr)
            continue
        print(f"{name}: {SETTLE + (reports + 1) * interval:.0f} s", file=sys.stderr)
        try:
            time.sleep(SETTLE)
            results += observe(name, peer.running.process.pid, peer.heard, reports, interval)
        except AssertionError as why:
            print(f"{name} is left out: {why}; it printed: {peer.running.printed()[-500:]}", file=sys.stderr)
        finally:
            peer.stop()
    return results


def aside(work: Callable[[], list[Result]]) -> Future[list[Result]]:
    """Do it meanwhile, in a thread that Ctrl-C does not wait for."""
    done: Future[list[Result]] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as why:
            done.set_exception(why)

    threading.Thread(target=run, daemon=True).start()
    return done


def package(tree: Path) -> list[Result]:
    """The size of the package, if one has been made."""
    made = sorted((tree / "dist").glob("schoolpulse-agent_*.deb"))
    return [result(f"{OURS}: package (.deb)", each.stat().st_size / 1000, "kB") for each in made[-1:]]


def described(installed: Installed, peers: Sequence[str]) -> dict[str, object]:
    """The machine, and the versions of what runs on it."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    query = ["dpkg-query", "--show", "--showformat=${Version}"]
    versions = {}
    for name in peers:
        found = subprocess.run([*query, PEERS[name].package], capture_output=True, text=True)
        versions[name] = found.stdout or "not installed"
    own = {"cpu": model[1] if model else "", "python_of_the_agent": installed.version(), "peers": versions}
    return machine() | own


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="PATH", help="the checkout whose agent is measured")
    parser.add_argument("--python", default=SYSTEM, metavar="PATH", help=f"runs the agent; default: {SYSTEM}")
    parser.add_argument("--reports", type=int, default=15, help="of each agent that are measured; default: 15")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between them; default: 5")
    parser.add_argument("--minutes", type=int, default=5, help="of our agent with a report every 60 s; 0: none")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="none: our agent alone")
    parser.add_argument("--probes", type=int, default=0, metavar="READS", help="print what each probe costs, too")
    parser.add_argument("--out", type=Path, default=FOLDER / "agent.json")
    return parser.parse_args()


def main() -> int:
    """0: everything as it should be."""
    asked = arguments()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))  # on a disk
        memory = Path(parts.enter_context(tempfile.TemporaryDirectory(dir=memory_folder())))
        installed = Installed(asked.tree, folder / "installed", asked.python)
        on = described(installed, asked.peers)
        ours = Ours(installed, folder, memory, parts)
        print(f"{OURS}: {20 + (asked.reports + 1) * asked.interval:.0f} s", file=sys.stderr)
        results = ours.often(asked.reports, asked.interval)
        minutely = aside(lambda: ours.minutely(asked.minutes) if asked.minutes else [])  # it sleeps nearly always
        others = beside(asked.peers, asked.reports, asked.interval, folder, memory)
        results += minutely.result()
        results += package(asked.tree)
        costs = ours.probes(asked.probes) if asked.probes else {}
    size = {"reports": asked.reports, "interval_s": asked.interval, "minutes": asked.minutes}
    title = f"{asked.reports} reports of each, one every {asked.interval:g} s"
    missing = [name for name in asked.peers if not any(each.name.startswith(f"{name}: ") for each in others)]
    title += f"; left out: {', '.join(missing)}" if missing else ""
    code = report(title, [*results, *others], asked.out, on | size)
    if others:
        print(f"\n{table([asdict(each) for each in [*results, *others]])}")
    for name, (cost, values) in sorted(costs.items(), key=lambda each: -each[1][0]):
        print(f"  probe {name:30} {cost:8.3f} ms {values:5} values")
    return code


if __name__ == "__main__":
    sys.exit(main())
