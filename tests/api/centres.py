"""A centre without broker, agents or threads, for tests of routes and rights: real registry, real DuckDB."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import nicegui.core
import uvicorn
from fastapi import FastAPI
from running import free_port, wait_until

from schoolpulse_agent.wire import Presence as Said
from schoolpulse_api.app import create_app
from schoolpulse_api.centre import Centre
from schoolpulse_api.feed import Feed
from schoolpulse_api.settings import Settings
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.record import Record
from schoolpulse_collector.registry import Registry, tokens
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.rolling import Rolling
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.steering import Steering
from schoolpulse_collector.store import open_store

NOW = int(time.time() * 1000)


class Sent:
    """Takes the place of the connection to a broker."""

    connected = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def retain(self, topic: str, payload: bytes) -> None:
        """Keep it."""
        self.messages.append((topic, payload))


class Office:
    """The parts, and two schools with a room and a device each: s1 with d1 in r1, s2 with d2 in r2."""

    def __init__(self, folder: Path, *, authority: bool = True, demo: bool = False, registry: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(home=folder, public_name="centre.test", registry=registry)
        self.registry = Registry(self.settings.registry_url)
        for number in (1, 2):
            self.registry.put(School(key=f"s{number}", name=f"Trường {number}"))
            self.registry.put(Room(key=f"r{number}", school=f"s{number}", name="Phòng máy"))
        self.secrets = {f"d{n}": self.registry.enrol(f"d{n}", f"s{n}", f"r{n}", "PC-01", "lab_pc") for n in (1, 2)}
        self.roster, self.presence = Roster(self.registry), Presence()
        self.store = open_store(self.settings.store_url, folder)
        records = [
            Record(f"d{n}", 1, 1, NOW - 60_000, 0, f"s{n}", f"r{n}", "lab_pc", {"mem": {"used_percent": 10.0 * n}}, 1)
            for n in (1, 2)
        ]
        self.store.write(records)
        latest = Latest(self.store.latest())
        for device in self.secrets:
            self.presence.said(device, Said("bye", "", 1, 0, 60.0))
        counters, self.sent = Counters(), Sent()
        self.fleet = Fleet(self.registry, lambda topic, payload: None, counters)
        self.steering = Steering(self.registry, self.roster, self.fleet, self.sent, counters, "Asia/Ho_Chi_Minh")
        self.rolling = Rolling(self.registry, self.roster, self.fleet, self.presence, latest)
        self.authority = Authority.create(folder / "tls", "Test", ["centre.test"]) if authority else None
        self.centre = Centre(
            self.registry,
            self.roster,
            self.store,
            latest,
            self.presence,
            counters,
            Feed(),
            self.settings,
            lambda: {"store": True},
            self.followed,
            self.fleet,
            self.steering,
            self.rolling,
            self.authority,
        )
        nicegui.core.app.middleware_stack = None  # NiceGUI has one application in a process: each office starts it anew
        self.app: FastAPI = create_app(self.centre, demo=demo)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=port, log_level="warning", http="h11"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, 20, "uvicorn listens")

    def followed(self) -> None:
        """As a running centre's threads would."""
        self.roster.follow()
        self.steering._changed()

    def token(self, role: str, unit: str | None = None, school: str | None = None) -> str:
        """A program's token with one grant."""
        with self.registry.change("system") as change:
            return tokens.issue(change, f"{role} {school or unit or 'everywhere'}", None, [(role, unit, school)])[1]

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        """A client that shows this token."""
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers={**shown, **headers}, timeout=20)

    def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self.store.close()
        self.registry.close()
