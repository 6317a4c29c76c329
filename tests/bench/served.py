"""A whole centre as it is installed, `schoolpulse up` with TLS in a process of its own, and what asks it over HTTPS."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import ssl
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from running import Program, free_port, wait_until

from schoolpulse_collector import certificate
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import Registry, enrolment, tokens

COMMAND = [sys.executable, "-m", "schoolpulse_api"]
LAB = 40  # machines that use one token
NEVER = 2**53  # a token last used then is not written down as used again


class Centre:
    """Made by `schoolpulse init`, started when its registry is filled. ``url``: of another registry than its own."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.home, self.port = folder / "home", free_port()
        self._folder, self.ca = folder, self.home / "tls" / "ca.pem"
        self._given = {"SP_HOME": str(self.home), "SP_MQTT_PORT": str(free_port()), "SP_REGISTRY": url}
        self._given["SP_DEVICE_BROKER_MTLS"] = "mqtts://localhost:8883"  # or no device would get a certificate
        ports = ["--http-port", str(self.port), "--mqtt-port", str(free_port()), "--listen", "127.0.0.1"]
        command = [*COMMAND, "init", "--organisation", "Sở", "--name", "localhost", *ports]
        subprocess.run(command, env={**os.environ, **self._given}, check=True, capture_output=True)
        self._schools = itertools.count()
        self.registry = Registry(url or f"sqlite:///{self.home}/registry.sqlite")

    def start(self) -> None:
        """Return when it answers."""
        self._program = Program([*COMMAND, "up"], self._folder / "run", **self._given)

        def answers() -> bool:
            assert self._program.process.poll() is None, self._program.printed()[-3000:]
            return "Ctrl-C" in self._program.printed()

        wait_until(answers, 120, "the centre listens")

    def stop(self) -> None:
        self._program.stop()
        self.registry.close()

    def token(self, role: str, unit: str | None = None, school: str | None = None) -> str:
        """A program's token with one grant, which is not written down as used."""
        with self.registry.change("system") as change:
            row, text = tokens.issue(change, f"{role} {unit or school}", None, [(role, unit, school)])
            row.last_used = NEVER
        return text

    def cpu(self) -> float:
        """Seconds of CPU that it has taken."""
        times = psutil.Process(self._program.process.pid).cpu_times()
        return float(times.user + times.system)

    def web(self, token: str = "") -> Web:
        return Web(self.port, self.ca, token)

    def enrol(self, count: int, clients: int, *, csr: bool) -> tuple[float, list[float]]:
        """Let so many new machines enrol; return (how many a second, milliseconds of each).

        Each machine makes a TLS connection of its own, and 40 use one token; their keys and CSRs are made before.
        """
        context = get_context("spawn")
        with ProcessPoolExecutor(clients, context) as pool:
            mine = [self._enrolments(count // clients) for _ in range(clients)]
            parts = [pool.submit(_machines, self.port, self.ca, each, csr=csr) for each in mine]
            done = [part.result() for part in parts]
        began, ended = min(start for start, _, _ in done), max(end for _, end, _ in done)
        times = [each for _, _, some in done for each in some]
        return len(times) / (ended - began), times

    def _enrolments(self, count: int) -> list[str]:
        """A token for each of so many machines: for each lab of 40 one, in a school of its own."""
        ca = Authority.open(self.ca.parent).fingerprint
        found = list[str]()
        with self.registry.change("system") as change:
            for _ in range(-(-count // LAB)):
                found += [enrolment.issue(change, ca, f"s{next(self._schools):04}", uses=LAB)[1]] * LAB
        return found[:count]


class Web:
    """One connection that is kept, with a token."""

    def __init__(self, port: int, ca: Path, token: str) -> None:
        context = ssl.create_default_context(cafile=ca)
        self._connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=300)
        self._headers = {"Authorization": f"Bearer {token}"}

    def connect(self) -> None:
        """So that the first question need not."""
        self._connection.connect()

    def get(self, path: str) -> bytes:
        """The answer's body. Raises AssertionError unless it is 200."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:500])
        return body


def _machines(port: int, ca: Path, enrolments: list[str], *, csr: bool) -> tuple[float, float, list[float]]:
    """(began, ended, milliseconds of each), in a process of its own; its clock is the machine's."""
    context = ssl.create_default_context(cafile=ca)
    requests = [_request(token, csr=csr) for token in enrolments]
    times, began = [], time.monotonic()
    for body in requests:
        start = time.monotonic()
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
        connection.request("POST", "/api/v1/enrol", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 201, (answer.status, told)
        assert bool(json.loads(told)["certificate"]) == csr
        connection.close()
        times.append((time.monotonic() - start) * 1000)
    return began, time.monotonic(), times


def _request(token: str, *, csr: bool) -> str:
    card = ":".join(f"{byte:02x}" for byte in (2, *os.urandom(5)))
    uuid = "-".join(os.urandom(size).hex() for size in (4, 2, 2, 2, 6))
    asked: dict[str, Any] = {"token": token, "hardware": {"uuid": uuid, "macs": [card], "manufacturer": "x"}}
    if csr:
        made = x509.CertificateSigningRequestBuilder(certificate.name("x")).sign(certificate.new_key(), SHA256())
        asked["csr"] = made.public_bytes(certificate.Encoding.PEM).decode()
    return json.dumps(asked)
