"""When an agent asks for a version that is offered, and what it does with what it gets: real HTTPS, a test's clock."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakecentre import FakeCentre
from packages import Maker

from schoolpulse_agent import __version__, agent, keeping, package, settings, update, versions
from schoolpulse_agent.enroll import Answer
from schoolpulse_agent.package import Manifest
from schoolpulse_agent.update import Update
from schoolpulse_agent.versions import State
from schoolpulse_agent.wallclock import WallClock


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Link:
    """What an update sees of a connection."""

    def __init__(self) -> None:
        self.connected, self.wallclock = True, WallClock()
        self.wallclock.learn(self.wallclock.raw())


class Machine:
    """An agent's update, offered what the test says at the time that the test says."""

    def __init__(self, folder: Path, centre: FakeCentre, public: str) -> None:
        self.folder, self.centre, config = folder / "reports" / versions.FOLDER, centre, folder / "etc" / "agent.toml"
        config.parent.mkdir()
        config.write_text(
            f'[reports]\nfolder = "{folder / "reports"}"\n[update]\nenabled = true\npublic_key = "{public}"\n'
        )
        answer = Answer("d1", "old", "s", None, "PC", "mqtt://localhost:1", centre.ca_pem, None)
        keeping.take_over(config, answer, centre.url, None)
        self.own = settings.load(config)
        self.start()

    def start(self) -> None:
        self.clock, self.link = Clock(), Link()
        self.update = Update(self.own, self.link, self.clock)  # type: ignore[arg-type]

    def offer(self, manifest: Manifest, body: bytes, **change: Any) -> dict[str, Any]:
        self.centre.instead[f"/packages/{package.name(manifest.version)}"] = (200, {}, body)
        return {**manifest._asdict(), **change}

    def after(self, seconds: float, offer: dict[str, Any] | None, receipted: bool = False) -> None:
        """Let so much time pass, looked at each 10 s; a download that has begun comes to its end."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 10)
            self.update.work(offer, receipted, 60.0)
            if self.update._fetch:
                assert self.update._fetch.ended.wait(60)
                self.update.work(offer, receipted, 60.0)

    @property
    def state(self) -> State:
        return versions.load(self.folder)

    @property
    def asked(self) -> int:
        return self.centre.received.count(b"GET /packages/")


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    made = FakeCentre()
    yield made
    made.close()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "maker")


@pytest.fixture
def machine(tmp_path: Path, centre: FakeCentre, maker: Maker) -> Machine:
    return Machine(tmp_path, centre, maker.public)


def test_a_whole_school_does_not_ask_at_once(machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    offer, spans = machine.offer(*maker.make("0.2.0")), list[tuple[float, float]]()
    monkeypatch.setattr(update.random, "uniform", lambda low, high: spans.append((low, high)) or high)
    machine.after(590, offer)
    assert machine.asked == 0 and spans == [(0.0, 600.0)]
    machine.after(30, offer)
    assert machine.asked == 1 and machine.update.restart
    assert machine.state == State(trial="0.2.0", tried="0.2.0")


def test_without_a_connection_or_an_offer_nothing_is_asked_for(machine: Machine, maker: Maker) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    machine.after(1000, None)
    machine.link.connected = False
    machine.after(1000, offer)
    machine.link.connected = True
    machine.update.work(offer, False, 60.0)
    machine.after(1000, None)  # it was withdrawn before the time had come
    assert machine.asked == 0 and not machine.update.restart


def test_what_runs_and_what_is_older_is_not_asked_for(
    machine: Machine, maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    machine.after(1000, machine.offer(*maker.make(__version__)))
    assert machine.update.refused == ""
    machine.after(1000, machine.offer(*maker.make("0.0.9")))
    assert machine.asked == 0 and machine.update.refused == f"0.0.9 it is older than {__version__}, which runs"
    assert [line.levelname for line in caplog.records] == ["ERROR"]
    machine.after(1000, machine.offer(*maker.make(__version__)))
    assert machine.update.refused == ""


@pytest.mark.parametrize(
    "change, why",
    [
        ({"version": "0.9.0"}, "0.9.0 0.9.0 is not signed with the key that update.public_key names"),
        ({"sha256": "0" * 64}, "is not signed"),
        ({"python": "4.0"}, "python or size is none"),
        ({"size": 5 * 2**20}, "at most 4194304 bytes"),
        ({"version": None}, "not a manifest"),
    ],
)
def test_an_offer_that_is_not_signed_is_refused_once_and_does_not_bar_the_right_one(
    machine: Machine, maker: Maker, caplog: pytest.LogCaptureFixture, change: dict[str, Any], why: str
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    machine.after(1000, {**offer, **change})
    assert why in machine.update.refused and machine.asked == 0
    assert len([line for line in caplog.records if why.removeprefix("0.9.0 ") in line.getMessage()]) == 1
    machine.after(1000, offer)
    assert machine.update.restart and machine.update.refused == ""


def test_one_that_needs_a_newer_python_is_told_and_not_asked_for(
    machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    monkeypatch.setattr(update.sys, "version_info", (3, 8, 20))
    machine.after(1000, offer)
    assert machine.update.refused == "0.2.0 it needs Python 3.9" and machine.asked == 0


@pytest.mark.parametrize(
    "reply, why",
    [
        (lambda body: (200, {}, body[:-1]), "is not the one that was signed"),
        (lambda body: (200, {}, body + b"\0"), "answered with more than"),
        (lambda body: (200, {}, b"x" * len(body)), "is not the one that was signed"),
        (lambda body: (200, {}, body + bytes(5 * 2**20)), "answered with more than"),
        (lambda _: (404, {}, b""), "HTTP 404"),
        (lambda _: (302, {"Location": "https://127.0.0.1:1/"}, b""), "HTTP 302"),
        (lambda _: (503, {}, b""), "HTTP 503"),
    ],
)
def test_what_can_not_be_had_as_signed_is_asked_for_again_rarely_and_leaves_nothing(
    machine: Machine, maker: Maker, caplog: pytest.LogCaptureFixture, reply: Any, why: str
) -> None:
    manifest, body = maker.make("0.2.0")
    offer = machine.offer(manifest, body)
    machine.centre.instead["/packages/schoolpulse-agent-0.2.0.zip"] = reply(body)
    machine.after(24 * 3600, offer)
    assert 12 <= machine.asked <= 24 and not machine.update.restart
    assert why in caplog.text and list(machine.folder.glob("*.zip")) == []
    machine.offer(manifest, body)
    machine.after(7200, offer)
    assert machine.update.restart


def test_a_centre_with_another_certificate_is_not_asked(
    machine: Machine, maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    offer, other = machine.offer(*maker.make("0.2.0")), FakeCentre()
    try:
        machine.own.centre.url = other.url
        machine.after(700, offer)
    finally:
        other.close()
    assert other.received == b"" and "not from the centre's CA" in caplog.text


def test_a_version_that_does_not_come_up_here_is_refused_for_good(machine: Machine, maker: Maker) -> None:
    offer = machine.offer(*maker.make("0.2.0", {"settings.py": {"import re\n": "import re, nonsense\n"}}))
    machine.after(24 * 3600, offer)
    assert machine.asked == 1 and machine.update.refused == "0.2.0 it can't run here: ModuleNotFoundError"
    assert list(machine.folder.glob("*.zip")) == []
    machine.start()
    machine.after(24 * 3600, offer)
    assert machine.asked == 1 and machine.update.refused.startswith("0.2.0 it can't run here")
    machine.after(700, machine.offer(*maker.make("0.3.0")))
    assert machine.update.restart and machine.state.trial == "0.3.0"
    assert not machine.update.is_leaving


def test_one_that_can_not_read_this_machines_settings_is_refused(machine: Machine, maker: Maker) -> None:
    offer = machine.offer(*maker.make("0.2.0", {"settings.py": {'    "update": Update,\n': ""}}))
    machine.after(700, offer)
    assert machine.update.refused == "0.2.0 it can't run here: schoolpulse_agent.settings.SettingsError"


@pytest.mark.parametrize(
    "said, told",
    [
        ("/home/nguyenvana/venv/bin/python3: error while loading shared libraries", "it can't run here"),
        ("Killed", "it can't run here"),
        ("ImportError: /home/nguyenvana/x.so", "it can't run here: ImportError"),
    ],
)
def test_no_path_of_this_machine_is_told(
    machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    machine.after(700, offer)
    assert machine.update.refused == f"0.2.0 {told}"


def test_a_machine_that_is_too_busy_to_try_it_tries_later(
    machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    with monkeypatch.context() as busy:
        busy.setattr(update, "CHECK", 0.0)
        machine.after(700, offer)
        assert not machine.update.restart and machine.update.refused == ""
    machine.after(7200, offer)
    assert machine.update.restart


def test_an_error_that_nobody_thought_of_is_no_package(
    machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    with monkeypatch.context() as broken:
        broken.setattr(package, "check", lambda _: 1 / 0)
        machine.after(700, offer)
        assert not machine.update.restart and machine.update.refused == "" and "ZeroDivisionError" in caplog.text
    machine.after(7200, offer)
    assert machine.update.restart


def test_a_full_disk_is_no_reason_to_refuse_it(
    machine: Machine, maker: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(versions, "put", full)
        machine.after(700, offer)
        assert not machine.update.restart and "No space left on device" in caplog.text
    machine.after(7200, offer)
    assert machine.update.restart


@pytest.mark.parametrize("frozen", [False, True])
def test_a_program_that_was_frozen_with_its_python_takes_no_updates(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frozen: bool
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(agent.sys, "frozen", frozen, raising=False)
    made = agent.build(machine.own, alone=False)
    made.close(0.1)
    assert made._care and (made._care._update is None) == frozen


# On trial


@pytest.fixture
def tried(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has started as 0.2.0, on trial; 0.1.5 was good."""
    monkeypatch.setattr(update, "__version__", "0.2.0")
    versions.save(machine.folder, State(good="0.1.5", trial="0.2.0", tried="0.2.0", starts=1))
    machine.start()
    return machine


def test_a_receipt_makes_it_good(tried: Machine) -> None:
    tried.after(200, None)
    assert tried.state.trial == "0.2.0"
    tried.after(10, None, receipted=True)
    assert tried.state == State(good="0.2.0", previous="0.1.5", tried="0.2.0") and not tried.update.restart
    tried.after(24 * 3600, None)
    assert not tried.update.restart


def test_five_minutes_of_connection_without_a_receipt_are_its_end(tried: Machine) -> None:
    tried.after(290, None)
    assert not tried.update.restart
    tried.after(20, None)
    assert tried.update.is_leaving and tried.state.good == "0.1.5" and tried.state.trial == ""
    assert tried.update.refused == "0.2.0 no report arrived under it"


def test_a_centre_that_answers_nobody_is_not_held_against_it(tried: Machine) -> None:
    tried.link.wallclock = WallClock()  # the broker is there, the collector is not
    tried.after(3590, None)
    assert not tried.update.restart
    tried.after(20, None)
    assert tried.update.restart and tried.update.refused == ""
    assert tried.state == State(good="0.1.5", tried="0.2.0", starts=1)  # to be tried again


def test_a_machine_that_reports_hourly_has_three_hours(tried: Machine) -> None:
    for tried.clock.now in range(1000, 1000 + 3 * 3600 - 60, 60):
        tried.update.work(None, False, 3600.0)
    assert not tried.update.restart
    tried.update.work(None, True, 3600.0)
    assert tried.state.good == "0.2.0"


def test_to_be_switched_off_is_not_held_against_it(tried: Machine) -> None:
    tried.update.ended()
    assert tried.state == State(good="0.1.5", trial="0.2.0", tried="0.2.0", starts=0)


def test_an_error_in_the_agents_loop_is_its_end(tried: Machine) -> None:
    tried.update.failed("KeyError: 'x'")
    assert tried.update.restart and tried.update.refused == "0.2.0 KeyError: 'x'"


def test_an_error_later_is_not(tried: Machine) -> None:
    tried.after(10, None, receipted=True)
    tried.update.failed("KeyError: 'x'")
    assert not tried.update.restart


def test_it_is_left_when_the_centre_withdraws_it(tried: Machine) -> None:
    tried.after(100, {"version": "0.1.5", "withdrawn": True})
    assert not tried.update.restart
    tried.after(100, {"version": "0.2.0", "withdrawn": True})
    assert tried.update.restart and tried.update.refused == "0.2.0 withdrawn by the centre"


def test_on_a_full_disk_a_version_that_is_withdrawn_is_left_once_that_can_be_written(
    tried: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tried.after(10, None, receipted=True)
    withdrawn = {"version": "0.2.0", "withdrawn": True}
    with monkeypatch.context() as broken:
        broken.setattr(versions, "put", full)
        tried.after(10_000, withdrawn)
        assert not tried.update.restart and tried.state.good == "0.2.0"  # or it would end every minute, for nothing
    tried.after(7300, withdrawn)
    assert tried.update.restart and tried.state.good == "0.1.5"


def test_what_was_not_started_though_it_should_have_been_is_not_fetched_for_ever(
    machine: Machine, maker: Maker
) -> None:
    offer = machine.offer(*maker.make("0.2.0"))
    versions.save(machine.folder, State(trial="0.2.0", tried="0.2.0"))
    machine.start()  # as a service that does not begin with launch.py
    machine.after(24 * 3600, offer)
    assert machine.asked == 0 and machine.update.refused == "0.2.0 it was not started"
