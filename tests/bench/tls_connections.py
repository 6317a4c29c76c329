"""How a real broker bears many TLS connections: memory and CPU of each, and a restart after which all come back.

    python tests/bench/tls_connections.py --broker mosquitto --count 5000

Raw asyncio clients in processes of their own, so that the broker's share can be told apart: each connects with its own
secret, subscribes to its own topic and stays. The broker is killed and started again; each client comes back after a
random wait, and everyone is sent one message. Prints a table and writes ``bench/tls-mosquitto.json``.
"""

from __future__ import annotations

import argparse
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1]))
from brokers import BROKERS, Broker
from clients import Clients
from results import FOLDER, Result, machine, report, result, share

DEFAULT_COUNT = {"mosquitto": 5000, "nats": 5000, "embedded": 500}
# Upper bounds of (kB a connection, ms of CPU a connect): about twice of what was measured on the machine of 2 cores.
TARGETS = {"mosquitto": (30.0, 1.5), "nats": (120.0, 3.0), "embedded": (700.0, 6.0)}
CITY = 100_000  # devices
RATE = 300.0  # first connects a second
SETTLE = 2.0  # seconds between the last connect and the measurement of memory


def bench(name: str, count: int, spread: float, folder: Path, parts: ExitStack) -> list[Result]:
    """Connect, hold, kill, come back, tell everyone."""
    kilobytes, milliseconds = TARGETS[name]
    clients = Clients(count, spread)
    broker: Broker = BROKERS[name](folder, clients.secrets)
    parts.callback(broker.stop)
    empty, cpu, answering = broker.memory(), broker.cpu(), time.process_time()
    clients.start(broker.port, broker.ca, count / RATE)
    parts.callback(clients.stop)
    connected = wait(clients, lambda: clients.connected.value >= count, count / RATE + 60, "connecting")
    attempts = max(1, clients.attempts.value)
    time.sleep(SETTLE)
    each = (broker.memory() - empty) / 1024 / max(1, connected)
    results = [
        share("connected", connected, count),
        result("memory of the broker, a connection", each, "kB", kilobytes),
        result("CPU of the broker, a connect", 1000 * (broker.cpu() - cpu) / attempts, "ms", milliseconds),
        result("CPU of the answering process, a connect", 1000 * (time.process_time() - answering) / attempts, "ms"),
    ]
    results += extrapolated(each, results[2].value)
    broker.kill()
    wait(clients, lambda: clients.connected.value == 0, 30, "cut off")
    before, began = clients.attempts.value, time.monotonic()
    broker.start()
    cpu = broker.cpu()
    back = wait(clients, lambda: clients.connected.value >= count, 3 * spread + 120, "coming back")
    taken, attempts = time.monotonic() - began, clients.attempts.value - before
    results += [
        share("came back", back, count),
        result("until all were back", taken, "s", 1.5 * spread + 5),
        result("attempts, a client", attempts / count, "", 3.0),
        result("CPU of the broker, an attempt", 1000 * (broker.cpu() - cpu) / max(1, attempts), "ms"),
    ]
    began = time.monotonic()
    with collector(broker) as said:
        for device in clients.secrets:
            said.publish(f"sp/v1/down/{device}/receipt", device, qos=0)
        told = wait(clients, lambda: clients.received.value >= count, 30, "told")
    return [
        *results,
        share("got the message meant for them", told, count),
        result("until all had it", time.monotonic() - began, "s"),
        result("got more than that", clients.received.value - told, "", 0),
    ]


def extrapolated(kilobytes: float, milliseconds: float) -> list[Result]:
    """What was measured of one connection, times 100,000: not measured."""
    return [
        result(f"extrapolated to {CITY}: memory of the broker", kilobytes * CITY / 2**20, "GiB"),
        result(f"extrapolated to {CITY}: CPU until all are connected", milliseconds * CITY / 1000, "s"),
    ]


def wait(clients: Clients, done: object, seconds: float, what: str) -> int:
    """Show how it goes until it is done or takes too long; return how many clients are there, or were told."""
    counter = clients.received if what == "told" else clients.connected
    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():  # type: ignore[operator]
        bar = "#" * (40 * counter.value // clients.count)
        print(f"\r{what:12} {bar:40} {counter.value:7} of {clients.count}", end="", file=sys.stderr, flush=True)
        time.sleep(0.1)
    print(f"\r{what:12} {counter.value} of {clients.count}{'':50}", file=sys.stderr)
    return int(counter.value)


@contextmanager
def collector(broker: Broker) -> Iterator[mqtt.Client]:
    """A client that may write to every device, connected."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="collector")
    client.username_pw_set("collector", broker.collector_password)
    client.tls_set_context(ssl.create_default_context(cafile=broker.ca))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def allow_files(count: int) -> int:
    """Raise the limit of open files for us and all we start, as far as we may; return how many connections fit."""
    wanted = count + 1000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000


def main() -> int:
    """0: everything as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=list(BROKERS), default="mosquitto")
    parser.add_argument("--count", type=int, help="connections; default: 5000, embedded 500")
    parser.add_argument("--spread", type=float, default=30.0, help="seconds over which clients come back")
    parser.add_argument("--out", type=Path, help="default: bench/tls-BROKER.json")
    asked = parser.parse_args()
    count = asked.count or DEFAULT_COUNT[asked.broker]
    if (fit := allow_files(count)) < count:
        print(f"only {fit} connections fit into this machine's limit of open files (ulimit -n)", file=sys.stderr)
        count = fit
    on = machine()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        results = bench(asked.broker, count, asked.spread, Path(folder), parts)
    title = f"{asked.broker}, {count} TLS connections, back within {asked.spread:g} s"
    size = {"broker": asked.broker, "connections": count, "spread_s": asked.spread}
    results = [replace(each, name=f"{asked.broker}: {each.name}") for each in results]
    return report(title, results, asked.out or FOLDER / f"tls-{asked.broker}.json", on | size)


if __name__ == "__main__":
    sys.exit(main())
