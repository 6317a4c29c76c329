"""Starts real programs for tests, on free ports and in folders of their own, and ends them by their process id."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

ROOT = Path(__file__).parent.parent


WORKERS = 4  # test processes at once at most: each takes every fourth port
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_taken: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now, below those that the system gives to connections."""
    while True:
        port = random.randrange(20_000, 32_000, WORKERS) + _worker
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _taken:
                _taken.add(port)
                return port


def wait_until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return what ``true`` returns once that is truthy; fail after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


_alive: set[Program] = set()


@atexit.register
def end_all() -> None:
    """Whatever a failed test left running ends with the tests."""
    for program in _alive:
        if program.process.poll() is None:
            program.process.kill()


class Program:
    """One process and what it printed."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "output.txt"
        self._before = self.log.stat().st_size if self.log.exists() else 0  # what earlier starts printed
        self._command, self._folder, self._environment = command, folder, {**os.environ, **environment}
        self.start()
        _alive.add(self)

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._environment, cwd=self._folder
            )

    def printed(self) -> str:
        return self.log.read_bytes()[self._before :].decode(errors="replace")

    def kill(self) -> None:
        """As a power switch would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Ask it to end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"did not stop within {seconds} s; printed:\n{self.printed()[-3000:]}") from None


class Demo(Program):
    """``schoolpulse up --demo`` in a folder of its own."""

    def __init__(self, folder: Path, command: list[str] | None = None) -> None:
        self.home = folder / "home"
        self.http, self.mqtt = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        (folder / "run").mkdir(parents=True, exist_ok=True)
        super().__init__(
            command or [sys.executable, "-m", "schoolpulse_api", "up", "--demo"],
            folder,
            SP_HOME=str(self.home),
            SP_HTTP_PORT=str(self.http),
            SP_MQTT_PORT=str(self.mqtt),
            RUNTIME_DIRECTORY=str(folder / "run"),
        )

    def ready(self, seconds: float = 60) -> Demo:
        """Return when it has said where it listens."""

        def said() -> bool:
            assert self.process.poll() is None, self.printed()[-3000:]
            return "sign-in?token=" in self.printed()

        wait_until(said, seconds, "the demo printed its sign-in link")
        return self

    def sign_in_link(self) -> str:
        return re.findall(r"http\S+/sign-in\?token=\S+", self.printed())[-1]

    def client(self) -> httpx.Client:
        """An API client with the scripts' token."""
        token = (self.home / "token").read_text().strip()
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)


class Mosquitto(Program):
    """A real mosquitto with the project's own settings and access rules; ``devices``: id -> secret."""

    def __init__(self, folder: Path, devices: dict[str, str], more: str = "") -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        for name, secret in devices.items():
            subprocess.run(["mosquitto_passwd", "-b", passwords, name, secret], check=True)
        acl = folder / "acl"  # mosquitto warns of files that others may read
        acl.write_text((ROOT / "deploy/mosquitto/acl").read_text())
        acl.chmod(0o600)
        config = folder / "mosquitto.conf"
        own = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
        config.write_text(
            own.replace("listener 1883 ", f"user root\nlistener {self.port} ")
            + f"password_file {passwords}\nacl_file {acl}\npersistence_location {folder}/\n{more}"
        )
        path = os.environ["PATH"] + ":/usr/sbin"
        super().__init__(["mosquitto", "-c", str(config)], folder, PATH=path)

    def start(self) -> None:
        super().start()
        wait_until(lambda: _answers(self.port), 10, "mosquitto listens")


class VictoriaMetrics(Program):
    """A real VictoriaMetrics with the flags that the store asks for."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{self.port}", f"-storageDataPath={folder}/data"]
        command += ["-retentionPeriod=5y", "-dedup.minScrapeInterval=1ms", "-search.latencyOffset=0s"]
        super().__init__([*command, "-memory.allowedBytes=256MiB"], folder)

    def start(self) -> None:
        super().start()
        wait_until(lambda: _answers(self.port), 20, "victoria-metrics listens")


class InfluxDB(Program):
    """A real InfluxDB 1.6 with the database ``schoolpulse``; reach it through a ``StoreProxy``."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "influxdb.conf"
        config.write_text(
            f'reporting-enabled = false\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
            f"query-log-enabled = false\n[monitor]\nstore-enabled = false\n"
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n[logging]\nlevel = "warn"\n'
        )
        super().__init__(["influxd", "-config", str(config)], folder)

    def start(self) -> None:
        super().start()
        wait_until(lambda: _answers(self.port), 30, "influxd listens")
        answer = httpx.post(f"http://127.0.0.1:{self.port}/query", params={"q": "create database schoolpulse"})
        answer.raise_for_status()


class PostgreSQL(Program):
    """A real PostgreSQL with Vietnamese collation; ``url`` is an empty database's, ``database()`` makes others."""

    def __init__(self, *, fsync: bool = False) -> None:
        self.port, self.password = free_port(), secrets.token_hex(8)
        folder = Path(tempfile.mkdtemp(prefix="schoolpulse-postgresql-"))  # pytest's own let no other user in
        self.data, password = folder / "data", folder / "password"
        password.write_text(self.password)
        user: list[str] = []
        if os.getuid() == 0:  # it refuses to run as root
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        newest = max(Path("/usr/lib/postgresql").iterdir(), key=lambda version: float(version.name)) / "bin"
        initdb = [*user, str(newest / "initdb"), "-D", str(self.data), "-U", "schoolpulse", "--no-sync"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8"]
        initdb += ["--locale-provider=icu", "--icu-locale=vi-VN"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
        postgres = [*user, str(newest / "postgres"), "-D", str(self.data), "-k", str(folder), "-p", str(self.port)]
        super().__init__([*postgres, "-h", "127.0.0.1", "-c", f"fsync={fsync}"], folder)
        self.url = self.database()

    def start(self) -> None:
        """Start it, again if it gives up: it does while something of a killed one is still there."""

        def up() -> bool:
            if self.process.poll() is not None:
                super(PostgreSQL, self).start()
            with contextlib.suppress(psycopg.OperationalError):
                self._run("select 1")
                return True
            return False

        super().start()
        wait_until(up, 20, "postgres answers")

    def kill(self) -> None:
        """With the processes that serve its connections: each would go on until it looks for its parent."""
        own = psutil.Process(self.process.pid).children()
        self.process.kill()
        for process in own:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)
        psutil.wait_procs(own, 10)

    def database(self, options: str = "") -> str:
        """Create a database with a random name; return its URL."""
        name = f"t{secrets.token_hex(6)}"
        self._run(f"create database {name} {options}")
        return f"postgresql://schoolpulse:{self.password}@127.0.0.1:{self.port}/{name}"

    def stop(self, number: int = signal.SIGINT, seconds: float = 20) -> int:
        """End it at once and in order, whoever is connected, and remove its folder."""
        code = super().stop(number, seconds)
        shutil.rmtree(self._folder)
        return code

    def _run(self, statement: str) -> None:
        to = f"host=127.0.0.1 port={self.port} user=schoolpulse password={self.password} dbname=postgres"
        with psycopg.connect(to, autocommit=True) as connection:
            connection.execute(statement)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
