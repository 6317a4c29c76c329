"""What systemd hears, at a real datagram socket, and what the log looks like in its journal."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from schoolpulse_agent import service

SAID = [(service.ready, b"READY=1"), (service.alive, b"WATCHDOG=1"), (service.stopping, b"STOPPING=1")]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    name = str(tmp_path / "notify") if request.param == "path" else f"@schoolpulse-{uuid4()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    request.addfinalizer(listening.close)
    listening.bind("\0" + name[1:] if name.startswith("@") else name)
    listening.settimeout(5)
    return listening


@pytest.mark.parametrize(("say", "heard"), SAID)
def test_the_service_manager_hears_each_word(manager: socket.socket, say: Callable[[], None], heard: bytes) -> None:
    say()
    assert manager.recv(100) == heard


def test_nothing_happens_without_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)  # whoever opened one would fail
    service.alive()


def test_a_manager_that_has_gone_or_does_not_read_never_stops_the_agent(manager: socket.socket) -> None:
    for _ in range(2000):  # far more than its queue holds
        service.alive()
    manager.close()
    service.alive()


def test_a_log_line_has_a_time_only_where_the_journal_does_not_add_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert "asctime" in service.log_format()
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    assert service.log_format() == "%(levelname)s %(name)s: %(message)s"
