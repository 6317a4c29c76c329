"""The Windows service with Windows faked: pywin32's modules stand in, the agent's loop is the real one."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from running import ROOT, wait_until


class Framework:
    """What pywin32's ServiceFramework does that counts here: it notes the states that are reported."""

    def __init__(self, args: Any) -> None:
        self.states: list[tuple[int, dict[str, int]]] = []

    def ReportServiceStatus(self, state: int, **more: int) -> None:  # noqa: N802 - Windows' own
        self.states.append((state, more))


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the Event Viewer would show."""
    said: list[str] = []
    fakes = {
        "servicemanager": SimpleNamespace(LogErrorMsg=said.append, LogWarningMsg=said.append),
        "win32service": SimpleNamespace(SERVICE_STOP_PENDING=3, SERVICE_STOPPED=1),
        "win32serviceutil": SimpleNamespace(ServiceFramework=Framework),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    return said


@pytest.fixture
def service(events: list[str]) -> ModuleType:
    spec = importlib.util.spec_from_file_location("windows_service", ROOT / "deploy/windows/service.py")
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[device]\nid = "d1"\nschool = "s1"\nsecret = "x"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n'
        f'[reports]\ninterval = 1\nfolder = "{tmp_path}/reports"\n'
    )
    return path


def test_the_service_measures_until_windows_stops_it_and_keeps_what_is_unsent(
    service: ModuleType, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "live").mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "live"))
    monkeypatch.setattr(service.Service, "config", config)
    running = service.Service([])
    thread = threading.Thread(target=running.SvcDoRun)
    thread.start()
    live = tmp_path / "live"
    wait_until(lambda: [path for path in live.rglob("*") if path.is_file() and path.stat().st_size], 20, "a report")
    running.SvcShutdown()
    thread.join(10)
    assert not thread.is_alive() and running.states == [(3, {})]
    assert [path for path in (tmp_path / "reports").glob("*.seg") if path.stat().st_size]


@pytest.mark.parametrize(("text", "said"), [("", "not enrolled"), ("[device]\nid = 5\n", "device.id"), (None, "agent")])
def test_what_can_not_start_says_why_in_the_event_viewer_and_is_started_again(
    service: ModuleType, events: list[str], config: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    config.unlink() if text is None else config.write_text(text)
    monkeypatch.setattr(service.Service, "config", config)
    log = logging.getLogger("schoolpulse_agent")
    handler = service.EventLog()
    log.addHandler(handler)
    try:
        running = service.Service([])
        running.SvcDoRun()
    finally:
        log.removeHandler(handler)
    (event,) = events
    assert said in event
    ((state, more),) = running.states
    assert state == 1 and more["win32ExitCode"] != 0, "or Windows would take it for an end that was wanted"
