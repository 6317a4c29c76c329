"""All parts in one process. Read from top to bottom, ``up`` is the architecture; it is undone from bottom to top."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from schoolpulse_agent import agent
from schoolpulse_agent.rules import LOOPBACK
from schoolpulse_api import brokers, demo, serving
from schoolpulse_api.app import create_app
from schoolpulse_api.centre import Centre
from schoolpulse_api.feed import Feed
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector import record
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.backpressure import Backpressure, Load
from schoolpulse_collector.clock import Clock
from schoolpulse_collector.clones import Clones
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.delivery import Delivery
from schoolpulse_collector.duties import Duties
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.following import Following
from schoolpulse_collector.intake import Intake
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import STATES, Presence
from schoolpulse_collector.received import Received
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.rolling import Rolling
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.shipper import Shipper
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.steering import Steering
from schoolpulse_collector.store import Store, StoreDown, open_store
from schoolpulse_collector.subscriber import Subscriber

log = logging.getLogger(__name__)


def up(settings: Settings, *, with_demo: bool) -> None:
    """Run a whole centre until interrupted. Raises SettingsError, RegistryDown, StoreDown, OSError at start."""
    _check_ports(settings)
    home, counters, feed = settings.home, Counters(), Feed()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is measured and who may sign in is nobody else's
    with ExitStack() as parts:
        parts.enter_context(_alone(home))
        registry = Registry(settings.registry_url)
        parts.callback(registry.close)
        members = demo.fill(registry) if with_demo else []
        roster = Roster(registry)
        authority, secure = _authority(settings)

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
        presence.expect([sender.id for sender in roster.all() if sender.active])
        dead_letters, clones = DeadLetters(home), Clones(registry, roster)

        shipper = _begin(parts, Shipper(spool, store, dead_letters, counters))
        broker, subscriber = brokers.choose(settings, registry, roster, authority, counters)
        if broker:
            _begin(parts, broker)
        subscriber.start()
        parts.callback(subscriber.stop)
        delivery = Delivery(received, roster)
        counters.registry.register(delivery)
        backpressure = Backpressure(settings.replay_rate, partial(_load, subscriber, spool, shipper))
        fleet = _begin(parts, Fleet(registry, subscriber.send, counters))
        steering = _begin(parts, Steering(registry, roster, fleet, subscriber, counters, settings.time_zone))
        rolling = _begin(parts, Rolling(registry, roster, fleet, presence, latest))
        intake = Intake(
            subscriber, roster, spool, received, dead_letters, presence, counters, delivery, backpressure, fleet,
            Duties(roster, presence),
        )  # fmt: skip
        intake.listeners += [latest.update, feed.on_record]
        intake.heard += [clones.said, fleet.said, steering.said]
        _begin(parts, intake)
        clock = _begin(parts, Clock(presence, subscriber))
        following = Following(roster, broker, presence, clones, partial(_tend, settings, authority, secure))
        following.listeners.append(steering.moved)
        _begin(parts, following)
        agents = _begin(parts, Agents(demo.agents(members, settings))) if members else None

        _watch(counters, subscriber, spool, shipper, presence)

        threads = (shipper, intake, clock, *([agents] if agents else []))
        healthy = partial(_healthy, threads, (fleet, steering, rolling, following), subscriber, shipper, intake)
        known = (registry, roster, store, latest, presence, counters, feed, settings)
        centre = Centre(*known, healthy, following.look, fleet, steering, rolling, authority)
        serving.serve(create_app(centre, demo=with_demo), settings, registry, secure, link=with_demo)


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


class _Part(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


Part = TypeVar("Part", bound=_Part)


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


def _authority(settings: Settings) -> tuple[Authority | None, ssl.SSLContext | None]:
    """The centre's CA, and TLS 1.2 or newer with its certificate; neither before `schoolpulse init`."""
    if not settings.has_tls:
        return None, None
    authority = Authority.open(settings.tls_folder)
    authority.renew()
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.minimum_version = ssl.TLSVersion.TLSv1_2
    secure.load_cert_chain(settings.tls_folder / "server.pem", settings.tls_folder / "server.key")
    return authority, secure


def _tend(settings: Settings, authority: Authority | None, secure: ssl.SSLContext | None) -> None:
    """Renew the centre's own certificates in time; show those there are, whoever renewed them."""
    if authority and secure:
        authority.renew()
        secure.load_cert_chain(settings.tls_folder / "server.pem", settings.tls_folder / "server.key")


def _check_ports(settings: Settings) -> None:
    if not settings.has_tls and settings.http_host not in LOOPBACK:
        raise SettingsError(
            f"SP_HTTP_HOST={settings.http_host}: without TLS this listens on 127.0.0.1 only; run schoolpulse init first"
        )
    embedded = not settings.broker and not settings.broker_folder
    taken = {settings.http_port: "SP_HTTP_PORT"}
    _require_free(settings.http_host, settings.http_port, "SP_HTTP_PORT")
    listeners = [(settings.mqtt_host, settings.mqtt_port, "SP_MQTT_PORT")]
    if settings.has_tls:
        listeners.append((settings.mqtts_host, settings.mqtts_port, "SP_MQTTS_PORT"))
    for host, port, variable in listeners if embedded else ():
        if port in taken:
            raise SettingsError(f"{taken[port]} and {variable} are both {port}: give them different ports")
        taken[port] = variable
        _require_free(host, port, variable)


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


def _healthy(
    threads: Sequence[threading.Thread],
    on_registry: Sequence[Fleet | Steering | Rolling | Following],
    subscriber: Subscriber,
    shipper: Shipper,
    intake: Intake,
) -> dict[str, bool]:
    """The names of the parts and whether each works."""
    alive = {part.name: part.is_alive() for part in threads}
    alive |= {part.name: part.is_alive() and part.works for part in on_registry}
    return alive | {"subscriber": subscriber.connected, "store": shipper.works, "spool": intake.works}


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
