"""The three brokers as a benchmark runs them: over TLS, each in a process of its own that can be killed."""

from __future__ import annotations

import secrets
import sys
import threading
from pathlib import Path

import psutil
from running import Program, free_port, wait_until

from schoolpulse_collector.authority import Authority
from schoolpulse_collector.brokers import mosquitto
from schoolpulse_collector.brokers.nats import Nats
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.natsconfig import server_config
from schoolpulse_collector.registry import Registry, credential
from schoolpulse_collector.registry.model import Device, School
from schoolpulse_collector.roster import Roster, Sender


class Devices:
    """A roster without a registry: the devices of this run."""

    def __init__(self, kept: dict[str, str]) -> None:
        self._senders = {name: Sender(name, "s", "r", "lab_pc", True, hashed) for name, hashed in kept.items()}

    def get(self, device: str) -> Sender | None:
        return self._senders.get(device)

    def admits(self, device: str, secret: str) -> bool:
        sender = self.get(device)
        return sender is not None and credential.matches(secret, sender.secret_hash)


class Broker:
    """One broker with the centre's certificate for 127.0.0.1. Killed and started again as often as wanted."""

    def __init__(self, folder: Path, known: dict[str, str]) -> None:
        self.folder, self.port = folder, free_port()
        self.authority = Authority.create(folder / "tls", "x", ["127.0.0.1"])
        self.ca = folder / "tls" / "ca.pem"
        self.collector_password = secrets.token_urlsafe(32)
        self.kept = {name: credential.keep(secret) for name, secret in known.items()}
        self.program = self._run()
        self._listens()

    def _run(self) -> Program:
        raise NotImplementedError

    def _listens(self) -> None:
        def listening() -> bool:
            assert self.program.process.poll() is None, self.program.printed()[-2000:]
            return any(each.laddr.port == self.port for each in self._process().net_connections() if not each.raddr)

        wait_until(listening, 60, "the broker listens")

    def _process(self) -> psutil.Process:
        return psutil.Process(self.program.process.pid)

    def memory(self) -> int:
        """Bytes of resident memory."""
        return int(self._process().memory_info().rss)

    def cpu(self) -> float:
        """Seconds of CPU."""
        times = self._process().cpu_times()
        return float(times.user + times.system)

    def start(self) -> None:
        self.program.start()
        self._listens()

    def kill(self) -> None:
        self.program.kill()

    def stop(self) -> None:
        self.kill()


class Mosquitto(Broker):
    """With the files that `schoolpulse broker setup` makes of a registry with these devices."""

    def _run(self) -> Program:
        registry = Registry(f"sqlite:///{self.folder}/registry.sqlite")
        with registry.change("system") as change:
            change.session.add(School(key="s", name="Trường"))
            change.session.flush()
            row = {"school": "s", "name": "Máy", "kind": "lab_pc", "changed": change.now}
            rows = [{**row, "id": name, "secret_hash": kept} for name, kept in self.kept.items()]
            change.session.bulk_insert_mappings(Device, rows)  # type: ignore[arg-type]
        ports = mosquitto.Listeners("127.0.0.1", free_port(), self.port, free_port())
        made = mosquitto.Mosquitto(
            self.folder / "broker", registry, Roster(registry), self.authority, ports, user="root"
        )
        made.write()
        self.collector_password = made.collector_password
        registry.close()
        config = self.folder / "broker" / "mosquitto.conf"
        return Program(["/usr/sbin/mosquitto", "-c", str(config)], self.folder / "run")


class NatsServer(Broker):
    """nats-server, asking this process."""

    def _run(self) -> Program:
        own, listen = free_port(), f"127.0.0.1:{self.port}"
        certificate, key = (self.authority.folder / name for name in ("server.pem", "server.key"))
        config = server_config(self.folder / "nats", certificate, key, listen, own)
        program = Program([str(Path(sys.executable).with_name("nats-server")), "-c", str(config)], self.folder / "run")
        self.answering = Nats(self.folder / "nats", Devices(self.kept), Counters(), f"nats://127.0.0.1:{own}")  # type: ignore[arg-type]
        self.collector_password = self.answering.collector_password
        self.answering.start()
        return program

    def _listens(self) -> None:
        super()._listens()
        wait_until(lambda: self.answering.answering, 20, "nats-server asks us")

    def stop(self) -> None:
        self.answering.stop()
        super().stop()


class Embedded(Broker):
    """amqtt with the product's door, alone in a process."""

    def _run(self) -> Program:
        passwords = self.folder / "passwords"
        passwords.write_text("\n".join(f"{name}:{hashed}" for name, hashed in self.kept.items()) + "\n")
        command = [sys.executable, __file__, str(self.folder), str(self.port), self.collector_password]
        return Program(command, self.folder / "run", PYTHONPATH=":".join(each for each in sys.path if each))


def _serve(folder: Path, port: int, collector_password: str) -> None:
    from schoolpulse_collector.brokers import embedded

    kept = dict(line.split(":", 1) for line in (folder / "passwords").read_text().splitlines())
    door = embedded.Door(Devices(kept), Counters())  # type: ignore[arg-type]
    door.collector_password = collector_password
    tls = embedded.Tls("127.0.0.1", port, folder / "tls" / "server.pem", folder / "tls" / "server.key")
    embedded.Broker("127.0.0.1", free_port(), door, tls).start()
    threading.Event().wait()


BROKERS: dict[str, type[Broker]] = {"mosquitto": Mosquitto, "nats": NatsServer, "embedded": Embedded}

if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
