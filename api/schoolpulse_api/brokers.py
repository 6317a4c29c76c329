"""Which broker this centre has, by its settings: the embedded one, mosquitto, NATS, or one it only connects to."""

from __future__ import annotations

from pathlib import Path

from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.broker import Broker
from schoolpulse_collector.brokers import embedded, mosquitto
from schoolpulse_collector.brokers.nats import Nats
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.subscriber import Subscriber


def choose(
    settings: Settings, registry: Registry, roster: Roster, authority: Authority | None, counters: Counters
) -> tuple[Broker | None, Subscriber]:
    """The broker that is told what changes, None if nobody needs to be, and the collector's connection.

    Raises SettingsError, OSError.
    """
    if settings.broker_folder:
        return _generated(settings, Path(settings.broker_folder), registry, roster, authority, counters)
    if settings.broker:
        ca = settings.tls_folder / "ca.pem" if authority else None
        return None, Subscriber(settings.broker, settings.broker_password(), ca)
    door = embedded.Door(roster, counters)
    tls = None
    if authority:
        files = settings.tls_folder / "server.pem", settings.tls_folder / "server.key"
        tls = embedded.Tls(settings.mqtts_host, settings.mqtts_port, *files)
    broker = embedded.Broker(settings.mqtt_host, settings.mqtt_port, door, tls)
    return broker, Subscriber(f"mqtt://{settings.mqtt_host}:{settings.mqtt_port}", door.collector_password)


def _generated(
    settings: Settings,
    folder: Path,
    registry: Registry,
    roster: Roster,
    authority: Authority | None,
    counters: Counters,
) -> tuple[Broker, Subscriber]:
    if authority is None:
        raise SettingsError("broker_folder is set, but there is no CA yet: run schoolpulse init, then broker setup")
    ca = settings.tls_folder / "ca.pem"
    if (folder / "nats.conf").exists():
        nats = Nats.open(folder, roster, counters)
        return nats, Subscriber(f"mqtts://localhost:{nats.mqtt_port}", nats.collector_password, ca)
    if (folder / mosquitto.PORTS).exists():
        broker = mosquitto.Mosquitto.open(folder, registry, roster, authority)
        ports = broker.listeners
        url = f"mqtt://127.0.0.1:{ports.plain}" if ports.plain else f"mqtts://localhost:{ports.secret}"
        return broker, Subscriber(url, broker.collector_password, ca)
    raise SettingsError(f"broker_folder {folder}: nothing there; make it with schoolpulse broker setup")


def device_url(settings: Settings, host: str, *, certificate: bool) -> str:
    """Where a device with a certificate, or one with a secret, reports; empty: nowhere.

    ``host``: the name by which it reached us.
    """
    if certificate:
        return settings.device_broker_mtls
    if settings.device_broker:
        return settings.device_broker
    name = settings.public_name or host
    name = f"[{name}]" if ":" in name else name
    if settings.has_tls:
        return f"mqtts://{name}:{settings.mqtts_port}"
    return f"mqtt://{settings.mqtt_host}:{settings.mqtt_port}"
