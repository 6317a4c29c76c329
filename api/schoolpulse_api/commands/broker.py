"""Make the folder that a broker of its own needs: settings, access rules, passwords, certificates."""

from __future__ import annotations

import argparse
from pathlib import Path

from schoolpulse_api.settings import NAME, Settings
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import Registry


def arguments(parser: argparse.ArgumentParser) -> None:
    """``schoolpulse broker setup``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    text = "make the folder, or bring it up to date: as the user that the centre runs as, as often as you like"
    setup = commands.add_parser("setup", help=text, description=text)
    setup.add_argument("--kind", choices=sorted(KINDS), default="mosquitto", help="which broker (default: mosquitto)")
    setup.add_argument("--folder", type=Path, metavar="DIR", help="where (default: the kind's name, in home)")
    setup.add_argument("--host", default="0.0.0.0", help="address for devices (default: all, %(default)s)")  # noqa: S104
    setup.add_argument("--mtls-port", type=_port, default=8883, help="for devices with a certificate (%(default)s)")
    setup.add_argument("--secret-port", type=_port, default=8884, help="for devices with id and secret (%(default)s)")
    text = "for the collector, on 127.0.0.1 (mosquitto: 1883, nats: 4222)"
    setup.add_argument("--plain-port", type=_port, help=text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Make the folder; print what to do with it."""
    authority = Authority.open(settings.home / "tls")
    registry = Registry(settings.registry_url)
    try:
        folder = (args.folder or settings.home / args.kind).resolve()
        KINDS[args.kind](args, folder, registry, authority)
        name = settings.public_name or "NAME"
        print(f"\n{settings.home / NAME} · settings of the centre:")
        print(f'  broker_folder = "{folder}"')
        if args.kind == "mosquitto":
            print(f'  device_broker = "mqtts://{name}:{args.secret_port}"')
            print(f'  device_broker_mtls = "mqtts://{name}:{args.mtls_port}"')
        else:
            print(f'  device_broker = "mqtts://{name}:{args.secret_port}"')
    finally:
        registry.close()
    return 0


def _mosquitto(args: argparse.Namespace, folder: Path, registry: Registry, authority: Authority) -> None:
    from schoolpulse_collector.brokers.mosquitto import GUIDE, Listeners, Mosquitto
    from schoolpulse_collector.roster import Roster

    listeners = Listeners(args.host, args.mtls_port, args.secret_port, args.plain_port or 1883)
    made = Mosquitto(folder, registry, Roster(registry), authority, listeners)
    made.write()
    print(f"mosquitto's files are in {folder}.\n{GUIDE.format(folder=folder)}")


def _nats(args: argparse.Namespace, folder: Path, _registry: Registry, authority: Authority) -> None:
    from schoolpulse_collector.natsconfig import server_config

    files = authority.folder / "server.pem", authority.folder / "server.key"
    config = server_config(folder, *files, f"{args.host}:{args.secret_port}", args.plain_port or 4222)
    print(f"NATS's settings are in {folder}. Run it as the centre's user, 2.10 or newer:\n  nats-server -c {config}")


KINDS = {"mosquitto": _mosquitto, "nats": _nats}


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: a port is a number from 1 to 65535")
    return port
