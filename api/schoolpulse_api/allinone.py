"""All parts in one process. Read from top to bottom, ``up`` is the architecture; it is undone from bottom to top."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import uvicorn

from schoolpulse_agent import agent
from schoolpulse_api import demo
from schoolpulse_api.app import create_app
from schoolpulse_api.centre import Centre
from schoolpulse_api.feed import Feed
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector import record
from schoolpulse_collector.backpressure import Backpressure, Load
from schoolpulse_collector.brokers.embedded import Broker, Door
from schoolpulse_collector.clock import Clock
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.delivery import Delivery
from schoolpulse_collector.intake import Intake
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import STATES, Presence
from schoolpulse_collector.received import Received
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.shipper import Shipper
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.store import Store, StoreDown, open_store
from schoolpulse_collector.subscriber import Subscriber

log = logging.getLogger(__name__)

ADDRESS = "address"  # file in home: where the centre that runs there, or ran last, listens
LINK_SECONDS = 12 * 3600  # how long a sign-in link waits to be used


def up(settings: Settings, *, with_demo: bool) -> None:
    """Run a whole centre until interrupted. Raises SettingsError, RegistryDown, StoreDown, OSError at start."""
    _check_ports(settings)
    home = settings.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is measured and who may sign in is nobody else's
    counters, feed = Counters(), Feed()
    with ExitStack() as parts:
        parts.enter_context(_alone(home))
        registry = Registry(settings.registry_url)
        parts.callback(registry.close)
        members = demo.fill(registry) if with_demo else []
        roster = Roster(registry)

        store = open_store(settings.store_url, home)
        parts.callback(store.close)
        spool = Spool(home / "spool", keep_bytes=int(settings.spool_gb * 2**30))
        parts.callback(spool.close)
        received = Received(store.received(), store.lows())
        latest = _last_values(store)
        _take_up(spool, received, latest)
        _require_clock(latest)
        presence = Presence()
        presence.listeners.append(feed.on_presence)
        presence.expect([device.id for device in registry.devices(limit=1_000_000) if device.status == "active"])
        dead_letters = DeadLetters(home)

        shipper = _begin(parts, Shipper(spool, store, dead_letters, counters))
        if settings.broker:
            subscriber = Subscriber(settings.broker, settings.broker_password())
        else:
            door = Door(roster, counters)
            _begin(parts, Broker(settings.mqtt_host, settings.mqtt_port, door))
            subscriber = Subscriber(f"mqtt://{settings.mqtt_host}:{settings.mqtt_port}", door.collector_password)
        subscriber.start()
        parts.callback(subscriber.stop)
        delivery = Delivery(received, roster)
        counters.registry.register(delivery)
        load = partial(_load, subscriber, spool, shipper)
        backpressure = Backpressure(settings.replay_rate, load)
        intake = Intake(subscriber, roster, spool, received, dead_letters, presence, counters, delivery, backpressure)
        intake.listeners += [latest.update, feed.on_record]
        _begin(parts, intake)
        clock = _begin(parts, Clock(presence, subscriber))
        agents = _begin(parts, Agents(demo.agents(members, settings))) if members else None

        _watch(counters, subscriber, spool, shipper, presence)

        def healthy() -> dict[str, bool]:
            threads = {"shipper": shipper, "intake": intake, "clock": clock, "agents": agents}
            alive = {name: part.is_alive() for name, part in threads.items() if part}
            return alive | {"subscriber": subscriber.connected, "store": shipper.works, "spool": intake.works}

        centre = Centre(registry, store, latest, presence, counters, feed, healthy, settings.time_zone)
        _serve(create_app(centre), settings, registry)


class Agents(threading.Thread):
    """Agents of this process: this machine's own and simulated ones, all in one loop."""

    def __init__(self, members: Sequence[agent.Agent]) -> None:
        super().__init__(name="agents", daemon=True)
        self._members, self._stop_signal = members, agent.Stop()

    def run(self) -> None:
        """Report until stopped."""
        agent.run(self._members, self._stop_signal)

    def stop(self) -> None:
        """Say goodbye for all."""
        self._stop_signal.set()
        self.join()


def sign_in_link(settings: Settings, registry: Registry) -> str:
    """A link that signs its first user in."""
    token = registry.issue_token("sign_in", "sign-in link", LINK_SECONDS)
    address = settings.home / ADDRESS
    return f"{address.read_text().strip()}/sign-in?token={token}"


Part = TypeVar("Part", Shipper, Broker, Intake, Clock, Agents)


def _begin(parts: ExitStack, part: Part) -> Part:
    """Start a part, and see that it is stopped."""
    part.start()
    parts.callback(part.stop)
    return part


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One centre in one folder: a lock that ends with the process, however that ends."""
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise SettingsError(f"SchoolPulse runs in {home} already (process {lock.read().strip()})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _count(presence: Presence, state: str) -> float:
    return presence.count()[state]


def _check_ports(settings: Settings) -> None:
    if settings.http_port == settings.mqtt_port and not settings.broker:
        raise SettingsError(f"SP_HTTP_PORT and SP_MQTT_PORT are both {settings.http_port}: give them different ports")
    _require_free(settings.http_host, settings.http_port, "SP_HTTP_PORT")
    if not settings.broker:
        _require_free(settings.mqtt_host, settings.mqtt_port, "SP_MQTT_PORT")


def _last_values(store: Store) -> Latest:
    """The last stored values; a store on a server that is away comes later, and so do they, with the next reports."""
    try:
        return Latest(store.latest())
    except StoreDown as why:
        log.error("the store can't tell the last values: %s; reports wait in the spool until it works", why)
        return Latest()


def _require_clock(latest: Latest) -> None:
    """A centre whose own clock is behind would refuse every good report as one from the future."""
    ahead = latest.newest() / 1000 - time.time()
    if ahead > 86_400:
        days = ahead / 86_400
        raise SettingsError(f"this machine's clock is {days:.0f} days behind the newest stored sample: set it first")


def _take_up(spool: Spool, received: Received, latest: Latest) -> None:
    """What was accepted before the last stop and is perhaps not stored yet."""
    for lines, _ in spool.read(spool.start()):
        for line in lines:
            try:
                late = record.decode(line)
            except msgspec.DecodeError:  # the shipper puts it among the dead letters
                continue
            received.add(late.device, late.epoch, late.seq)
            received.held_from(late.device, late.epoch, late.low, late.arrived)
            latest.update(late)


def _load(subscriber: Subscriber, spool: Spool, shipper: Shipper) -> Load:
    return Load(subscriber.inbox.filled, spool.bytes_after(shipper.place))


def _watch(counters: Counters, subscriber: Subscriber, spool: Spool, shipper: Shipper, presence: Presence) -> None:
    """Gauges for ``/metrics``: what waits where, and who is there."""
    counters.watch("schoolpulse_intake_bytes", "Messages read but not judged yet.", subscriber.inbox.qsize)
    counters.watch(
        "schoolpulse_spool_bytes", "Bytes in the spool not stored yet.", lambda: spool.bytes_after(shipper.place)
    )
    counters.watch("schoolpulse_spool_damaged", "Blocks of the spool that could not be read.", lambda: spool.damaged)
    for state in STATES:
        counters.watch(f"schoolpulse_devices_{state}", f"Devices {state}.", partial(_count, presence, state))


def _require_free(host: str, port: int, variable: str) -> None:
    """Say what to do about a port that is taken, before anything has been started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as why:
            raise SettingsError(
                f"{host}:{port} can't be used ({why.strerror}): end the program that has it, "
                f"or choose another port, as in {variable}={port + 10_000}"
            ) from None


def _serve(app: object, settings: Settings, registry: Registry) -> None:
    token_file = _script_token(settings.home, registry)
    (settings.home / ADDRESS).write_text(f"http://{settings.http_host}:{settings.http_port}\n")
    link = sign_in_link(settings, registry)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            address = f"http://{settings.http_host}:{settings.http_port}"
            lines = (
                "",
                f"  Nhịp trường · SchoolPulse: {address}",
                f"  Đăng nhập một lần · one-time sign-in: {link}",
                f"  API: {address}/docs · token cho chương trình · token for scripts: {token_file}",
                "  Dừng · stop: Ctrl-C",
                "",
            )
            print("\n".join(lines), flush=True)

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.http_host,
        port=settings.http_port,
        log_level="warning",
        http="h11",  # bounds a request's head; httptools reads any size into memory
        timeout_graceful_shutdown=2,  # live pages and streams never end by themselves
        server_header=False,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        Server(config).run()
    finally:
        print("  Đang dừng · stopping ...", flush=True)


def _script_token(home: Path, registry: Registry) -> Path:
    """The file with the API token for scripts; a token that is still good stays."""
    path = home / "token"
    if not (path.exists() and registry.token_is_good(path.read_text().strip(), "api")):
        path.unlink(missing_ok=True)
        fresh = path.with_name(f"token.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(registry.issue_token("api", "scripts") + "\n")
        fresh.replace(path)
    return path
