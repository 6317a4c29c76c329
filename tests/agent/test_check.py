"""``check``: a line for each step, ✓ or what is wrong and what to do, against real brokers and a real HTTPS centre."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from fakecentre import FakeCentre
from receipts import Receipts
from running import Mosquitto, Program, free_port, wait_until

from schoolpulse_agent import __main__, check, checks, inventory, language, probe, settings, tls
from schoolpulse_agent.checks import here, way

STEPS = ["settings", "enrolment", "folder", "clock", "inventory", *(f"probe {name}" for name in probe.names())]


class Place(NamedTuple):
    """A machine, and its centre: a TLS broker and HTTPS by one CA."""

    folder: Path
    broker: Mosquitto
    port: int
    centre: FakeCentre

    def config(self, **changes: str) -> Path:
        said = {
            "secret": "s3cret",
            "url": f"mqtts://localhost:{self.port}",
            "ca": str(self.folder / "ca.pem"),
            "centre": self.centre.url,
            "folder": str(self.folder / "outbox"),
            **changes,
        }
        path = self.folder / "agent.toml"
        path.write_text(
            f'[device]\nid = "d1"\nschool = "s"\nsecret = "{said["secret"]}"\n'
            f'[broker]\nurl = "{said["url"]}"\nca_file = "{said["ca"]}"\n[centre]\nurl = "{said["centre"]}"\n'
            f'[reports]\nfolder = "{said["folder"]}"\ninterval = 1\n'
        )
        return path

    def check(self, path: Path, spoken: str = "en", code: int = 0) -> dict[str, str]:
        """Step -> its whole line, as the real command prints it."""
        command = [sys.executable, "-m", "schoolpulse_agent", "--config", str(path), "check"]
        ended = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            timeout=90,
            env={**os.environ, "SCHOOLPULSE_LANG": spoken, "RUNTIME_DIRECTORY": str(self.folder / "run")},
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert ended.stderr == ""
        return {line[2:].partition(": ")[0]: line for line in ended.stdout.splitlines()}


def place(folder: Path, name: str = "localhost", days: int = 300) -> Iterator[Place]:
    ca, port = trustme.CA(), free_port()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    begins = datetime.now(UTC) - timedelta(days=30)
    issued = ca.issue_cert(name, not_before=begins, not_after=begins + timedelta(days=days))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    more = f"listener {port} 127.0.0.1\ncertfile {folder}/server.pem\nkeyfile {folder}/server.pem\n"
    (folder / "run").mkdir()
    broker = Mosquitto(folder / "broker", {"d1": "s3cret", "collector": "c"}, more)
    centre = FakeCentre(ca=ca)
    yield Place(folder, broker, port, centre)
    centre.close()
    broker.stop()


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[Place]:
    yield from place(tmp_path)


@pytest.fixture
def collector(sound: Place) -> Iterator[Receipts]:
    made = Receipts(sound.broker.port, "c")
    yield made
    made.close()


def test_all_steps_get_a_tick_and_nothing_stays_behind(sound: Place, collector: Receipts) -> None:
    said = sound.check(sound.config())
    steps = [*STEPS, "name", f"network localhost:{sound.port}", "TLS", "credentials", "publish and receipt"]
    assert list(said) == [*steps, "clock offset", "inventory at the centre", "centre"]
    assert all(line.startswith("✓ ") for line in said.values())
    assert "TLSv1.3, its certificate is valid until " in said["TLS"]
    assert "not known yet" in said["inventory at the centre"]
    assert list((sound.folder / "run").iterdir()) == [] and list((sound.folder / "outbox").iterdir()) == []


def test_it_speaks_vietnamese_and_says_that_the_centre_knows_the_inventory(sound: Place, collector: Receipts) -> None:
    collector.inventory = inventory.read().hash
    said = sound.check(sound.config(), "vi")
    assert len(said) == len(STEPS) + 8
    assert said["kiểm kê ở trung tâm"] == "✓ kiểm kê ở trung tâm: trung tâm đã có"
    assert "trung tâm đã xác nhận" in said["gửi và xác nhận"]


def test_without_a_collector_the_receipt_is_what_fails(sound: Place) -> None:
    said = sound.check(sound.config(), code=1)
    assert said["credentials"].startswith("✓ ")
    assert "no receipt came in 10 s" in said["publish and receipt"]
    assert said["clock offset"] == "– clock offset: not tried, because of ✗ publish and receipt"
    assert said["centre"].startswith("✓ ")


@pytest.mark.parametrize(
    ("changes", "step", "says"),
    [
        ({"secret": "wrong"}, "credentials", "the broker refuses device d1 (Not authorized): enrol again with --force"),
        ({"url": "mqtts://none.invalid:8883"}, "name", "nobody knows this name"),
        ({"url": "mqtts://localhost:1"}, "network localhost:1", "nothing listens there"),
        ({"centre": "https://localhost:1"}, "centre", "nothing listens there"),
    ],
)
def test_what_is_wrong_is_named_at_its_step_and_skips_what_needs_it(
    sound: Place, collector: Receipts, changes: dict[str, str], step: str, says: str
) -> None:
    said = sound.check(sound.config(**changes), code=1)
    assert said[step].startswith("✗ ") and says in said[step]
    assert [name for name, line in said.items() if line.startswith("✗")] == [step]
    assert all(line.endswith(f"✗ {step}") for line in said.values() if line.startswith("–"))
    assert step == "centre" or said["clock offset"].startswith("–")


@pytest.mark.parametrize(("name", "days", "says"), [("other", 300, "for another name"), ("localhost", 9, "not valid")])
def test_a_certificate_of_another_name_or_time_is_told_apart(tmp_path: Path, name: str, days: int, says: str) -> None:
    for made in place(tmp_path, name, days):
        said = made.check(made.config(), code=1)
        assert said["TLS"].startswith("✗ ") and says in said["TLS"]


def test_a_ca_of_somebody_else_is_told(sound: Place) -> None:
    other = sound.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    said = sound.check(sound.config(ca=str(other), centre=""), code=1)
    assert "not from the centre's CA" in said["TLS"] and "somebody may be in between" in said["TLS"]


def test_a_port_that_speaks_no_tls_is_told(sound: Place) -> None:
    said = sound.check(sound.config(url=f"mqtts://localhost:{sound.broker.port}", centre=""), code=1)
    assert "no TLS there" in said["TLS"]


def test_a_port_of_something_else_is_not_taken_for_a_refusal(sound: Place) -> None:
    said = sound.check(sound.config(url=sound.centre.url.replace("https", "mqtts")), code=1)
    assert "no broker answers: check the port" in said["credentials"]


def test_a_damaged_ca_file_is_told_with_what_to_do(sound: Place) -> None:
    empty = sound.folder / "empty.pem"
    empty.touch()
    said = sound.check(sound.config(ca=str(empty)), code=2)
    assert "damaged" in said["enrolment"] and "enrol again with --force" in said["enrolment"]
    assert said["centre"].startswith("–")


def test_a_clock_that_is_off_is_told_by_the_centres(sound: Place) -> None:
    collector = Receipts(sound.broker.port, "c", offset=3600)
    said = sound.check(sound.config(), code=1)
    collector.close()
    assert "the centre's clock is +3600." in said["clock offset"] or "+3599." in said["clock offset"]


def test_without_enrolment_it_exits_2_and_still_looks_at_the_machine(tmp_path: Path) -> None:
    for made in place(tmp_path):
        said = made.check(made.config(secret=""), code=2)
        assert "not enrolled" in said["enrolment"]
        assert all(said[step].startswith("✓") for step in STEPS if step != "enrolment")
        assert said["centre"].startswith("–")


def test_a_running_agent_is_noticed_and_comes_back(sound: Place, collector: Receipts) -> None:
    path = sound.config()
    command = [sys.executable, "-m", "schoolpulse_agent", "--config", str(path), "run"]
    service = Program(command, sound.folder / "service", RUNTIME_DIRECTORY=str(sound.folder / "run"))
    try:
        wait_until(lambda: "report" in collector.kinds(), 20, "the service reports")
        said = sound.check(path)
        assert "the service runs here" in said["credentials"]
        before = len(collector.heard)
        wait_until(lambda: any("report" in t for t, _ in collector.heard[before:]), 20, "it reports again")
    finally:
        assert service.stop() == 0


# Steps alone


def looking(**changes: Any) -> checks.Look:
    return checks.Look(settings.parse(changes, "test"))


def test_a_clock_from_before_this_program_was_made_says_what_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.time, "time", lambda: 86_400.0)
    with pytest.raises(language.Told, match=r"it says 0[12]/01/1970.*CR2032") as why:
        here.clock(looking())
    assert "pin CMOS" in why.value.vi
    monkeypatch.setattr(here.time, "time", lambda: tls.MADE + 1.0)
    assert "2026" in here.clock(looking())[0]


def test_a_disk_without_room_is_told_before_reports_are_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = type("Usage", (), {"free": 3 << 20})
    monkeypatch.setattr(here.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(language.Told, match=r"only 3 MB free.*need 20 MB"):
        here.folder(looking(reports={"folder": str(tmp_path)}))


def test_a_folder_that_can_not_be_made_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(language.Told, match=r"set reports\.folder to one") as why:
        here.folder(looking(reports={"folder": str(tmp_path / "file/outbox")}))
    assert "hoặc đặt reports.folder" in why.value.vi


class Broken:
    def read(self) -> Iterator[probe.Reading]:
        yield probe.Reading("mem", {}, {"secret": 1.0})


def test_a_probe_that_hangs_is_told_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Hanging:
        def read(self) -> Iterator[probe.Reading]:
            never.wait(60)
            yield from ()

    monkeypatch.setattr(here, "PATIENCE", 0.1)
    monkeypatch.setattr(here.configuration, "in_force", lambda own: own)
    found = settings.parse({}, "test")
    found.probes = {"disk": Hanging()}
    (step,) = here.of_probes(found)
    with pytest.raises(language.Told, match="it hangs") as why:
        step.do(checks.Look(found))
    never.set()
    assert "bị treo" in why.value.vi


def test_a_probe_that_fails_or_lies_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = settings.parse({"reports": {"folder": str(tmp_path)}}, "test")
    found.probes = {"mem": Broken(), "swap": None, "cpu": found.probes["cpu"]}
    assert check.run(found, "en", print) == 2
    lines = capsys.readouterr().out
    assert "✗ probe mem: LookupError: mem: not all of it stands in the probe's tables" in lines
    assert "✗ probe swap: AttributeError" in lines and "✓ probe cpu: " in lines


def test_the_lock_tells_whether_an_agent_runs(tmp_path: Path) -> None:
    import fcntl

    assert not way.is_running(tmp_path)
    with (tmp_path / "lock").open("w") as lock:
        assert not way.is_running(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert way.is_running(tmp_path)


@pytest.mark.parametrize(("me", "owner", "calls"), [(0, 4711, 3), (0, 0, 0), (4711, 4712, 0)])
def test_root_checks_with_the_rights_of_the_settings_files_owner(
    monkeypatch: pytest.MonkeyPatch, me: int, owner: int, calls: int
) -> None:
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: me)
    for name in ("initgroups", "setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *what, name=name: said.append((name, *what)))
    __main__._go_on_as(owner, owner)
    assert len(said) == calls and said[-2:] == ([("setgid", owner), ("setuid", owner)] if calls else [])
