"""Renewal and re-key, by the whole agent on a real mosquitto, with a centre that checks what it is asked."""

from __future__ import annotations

import itertools
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fakecentre import FakeCentre
from receipting import Collector
from running import Mosquitto, Program, free_port, wait_until

from schoolpulse_agent import enroll, identity, keeping, origin, renewal, settings
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.renewal import Renewal
from schoolpulse_agent.wallclock import WallClock

MAC = "3c:58:c2:00:00:01"
HERE, THERE = identity.fingerprint([MAC], ""), "b" * 16
# The agent's own main, on hardware that the test knows, and asking soon: the random times are tested below.
AGENT = f"""
from schoolpulse_agent import __main__, identity, renewal
identity.read = lambda: identity.Hardware(macs=("{MAC}",), fingerprint="{HERE}")
renewal.SOON = (0.0, 1.0)
raise SystemExit(__main__.main())
"""
QUICK = "".join(f"[probe.{name}]\nenabled = false\n" for name in ("cpu", "disk", "diskio", "net", "processes", "swap"))


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    made = FakeCentre()
    yield made
    made.close()


class Broker(Mosquitto):
    """A mosquitto that takes devices by certificate on a TLS port, and by password on its other one."""

    def __init__(self, folder: Path, centre: FakeCentre, devices: dict[str, str]) -> None:
        self.tls, folder = free_port(), folder / "broker"
        folder.mkdir()
        (folder / "ca.pem").write_text(centre.ca.cert_pem.bytes().decode())
        centre.ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        files = f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.pem\n"
        more = f"listener {self.tls} 127.0.0.1\n{files}require_certificate true\nuse_identity_as_username true\n"
        super().__init__(folder, {**devices, "collector": "c"}, more)


@pytest.fixture
def broker(tmp_path: Path, centre: FakeCentre) -> Iterator[Broker]:
    made = Broker(tmp_path, centre, {"d9": "new"})
    yield made
    made.stop()


@pytest.fixture
def collector(broker: Broker) -> Iterator[Collector]:
    made = Collector(broker)
    yield made
    made.close()


def enrolled(folder: Path, centre: FakeCentre, url: str, age: float | None = None, days: float = 400) -> Path:
    """The settings file of d1, with a certificate that was issued ``age`` days ago."""
    config = folder / "etc" / "agent.toml"
    config.parent.mkdir()
    request = enroll.new_request() if age is not None else None
    certificate = centre.certify(request.csr, "d1", age, days) if request and age is not None else None
    answer = enroll.Answer("d1", "old", "s", None, "PC", url, centre.ca_pem, certificate)
    reports = f'[reports]\ninterval = 1\nfolder = "{folder / "outbox"}"\nreplay_spread = 0\nreplay_rate = 100\n'
    config.write_text(reports + QUICK)
    keeping.take_over(config, answer, centre.url, request)
    return config


def started(folder: Path, config: Path) -> Program:
    (folder / "run").mkdir()
    command = [sys.executable, "-c", AGENT, "--config", str(config), "run"]
    return Program(command, folder / "agent", RUNTIME_DIRECTORY=str(folder / "run"))


def ended(program: Program) -> str:
    code = program.stop(signal.SIGTERM)
    assert code == 0 and "Traceback" not in program.printed(), program.printed()
    return program.printed()


def certificate_of(config: Path) -> x509.Certificate:
    """What stands in its files, which belong together."""
    own = settings.load(config).certificate()
    assert own
    found = x509.load_pem_x509_certificate(Path(own[0]).read_bytes())
    key = serialization.load_pem_private_key(Path(own[1]).read_bytes(), None)
    assert found.public_key() == key.public_key()
    assert Path(own[1]).stat().st_mode & 0o777 == 0o600
    return found


# Renewal


def test_after_day_267_an_agent_renews_its_certificate_and_comes_back_with_it(
    tmp_path: Path, centre: FakeCentre, broker: Broker, collector: Collector
) -> None:
    config = enrolled(tmp_path, centre, f"mqtts://localhost:{broker.tls}", age=268)
    before = certificate_of(config).serial_number
    program = started(tmp_path, config)
    wait_until(lambda: len(collector.hellos("d1")) >= 2, 20, "it comes back")
    assert certificate_of(config).serial_number != before
    ((path, said),) = centre.asked
    assert (path, said["device"], said["secret"]) == ("/api/v1/renew", "d1", "old")
    seen = len(collector.reports)
    wait_until(lambda: collector.work() or len(collector.reports) > seen + 1, 10, "it goes on reporting")
    assert [said.state for _, said in collector.said] == ["online", "bye", "online"]
    assert {said.hardware for said in collector.hellos("d1")} == {HERE}
    assert "new certificate" in ended(program)


def test_a_certificate_that_the_broker_refuses_as_expired_is_renewed(
    tmp_path: Path, centre: FakeCentre, broker: Broker, collector: Collector
) -> None:
    config = enrolled(tmp_path, centre, f"mqtts://localhost:{broker.tls}", age=402)  # switched off all summer
    program = started(tmp_path, config)
    wait_until(lambda: collector.hellos("d1"), 20, "it gets in")
    assert [path for path, _ in centre.asked] == ["/api/v1/rekey", "/api/v1/renew"]
    assert "alert certificate expired" in ended(program)


def test_a_key_that_does_not_belong_to_its_certificate_mends_itself(
    tmp_path: Path, centre: FakeCentre, broker: Broker, collector: Collector
) -> None:
    config = enrolled(tmp_path, centre, f"mqtts://localhost:{broker.tls}", age=1)
    (config.parent / "device.key").write_text(enroll.new_request().key)  # a power cut between two files
    program = started(tmp_path, config)
    wait_until(lambda: collector.hellos("d1"), 20, "it gets in")
    certificate_of(config)
    ended(program)


def test_a_renewal_that_fails_changes_nothing_and_reports_go_on(
    tmp_path: Path, centre: FakeCentre, broker: Broker, collector: Collector
) -> None:
    centre.instead["/api/v1/renew"] = (503, {}, b"")
    config = enrolled(tmp_path, centre, f"mqtts://localhost:{broker.tls}", age=300)
    before = certificate_of(config).serial_number
    program = started(tmp_path, config)
    wait_until(lambda: collector.work() or len(collector.reports) > 3, 20, "reports")
    wait_until(lambda: "no new certificate for device d1" in program.printed(), 10, "it says so")
    assert certificate_of(config).serial_number == before and len(collector.hellos("d1")) == 1
    assert centre.received.count(b"/api/v1/renew") == 1
    ended(program)


# Re-key


def test_a_clone_becomes_a_device_of_its_own_and_takes_its_own_reports_along(
    tmp_path: Path, centre: FakeCentre, broker: Broker, collector: Collector
) -> None:
    centre.rekeys["d1"], centre.broker = "d9", f"mqtt://localhost:{broker.port}"
    centre.devices, make = {"d1": "old"}, centre._identity
    centre._identity = lambda *asked: {**make(*asked), "secret": "new"}  # as the broker has it
    image = Outbox(tmp_path / "outbox", tmp_path / "live")  # what the original held when its disk was copied
    image.append(1, 1.0, {"cpu": {"usage_active": 1.0}})
    image.close()
    origin.note(tmp_path / "outbox", origin.Origin("d1", THERE), (), image.epoch)
    config = enrolled(tmp_path, centre, centre.broker)
    program = started(tmp_path, config)
    wait_until(lambda: collector.hellos("d9"), 20, "it is there under its own name")
    now = collector.hellos("d9")[0].epoch
    wait_until(lambda: collector.work() or len({epoch for _, epoch, _ in collector.reports}) > 1, 10, "old reports")
    assert {device for device, _, _ in collector.reports} == {"d9"}
    assert image.epoch not in {epoch for _, epoch, _ in collector.reports} and now != image.epoch
    assert [path.stem.rpartition("-")[2] for path in tmp_path.glob("outbox/of-d1/*.seg")] == [str(image.epoch)]
    found = settings.load(config)
    assert (found.device.id, found.secret(), found.reports.interval) == ("d9", "new", 1)
    assert [path for path, _ in centre.asked] == ["/api/v1/rekey"]
    assert "device d1 is now d9" in ended(program)


def test_a_device_that_the_centre_refuses_asks_once_and_keeps_its_reports(
    tmp_path: Path, centre: FakeCentre, broker: Broker
) -> None:
    config = enrolled(tmp_path, centre, f"mqtt://localhost:{broker.port}")
    program = started(tmp_path, config)
    wait_until(lambda: "no new identity for device d1" in program.printed(), 20, "it has asked")
    wait_until(lambda: list((tmp_path / "run").glob("*/*.live")), 10, "it measures on")
    assert centre.received.count(b"/api/v1/rekey") == 1
    ended(program)
    assert list((tmp_path / "outbox").glob("*.seg")) and settings.load(config).secret() == "old"


# When


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asker:
    """A renewal and its link, which goes nowhere; the test says what time it is and whether the link is rejected."""

    def __init__(self, folder: Path, centre: FakeCentre, age: float | None = None) -> None:
        config = enrolled(folder, centre, "mqtt://127.0.0.1:1", age)
        self.clock, self.outbox = Clock(), Outbox(folder / "o", folder / "l")
        self.link = Link(settings.load(config), self.outbox, WallClock(), self.clock)
        self.renewal = Renewal(settings.load(config), self.link, self.clock)

    def times(self, centre: FakeCentre, path: str, seconds: float, step: float) -> list[float]:
        """After how many seconds it asked."""
        found, start = [], self.clock.now
        while self.clock.now < start + seconds:
            before = centre.received.count(path.encode())
            self.renewal.work()
            found += [self.clock.now - start] * (centre.received.count(path.encode()) - before)
            self.clock.now += step
        return found


def gaps(times: list[float]) -> list[float]:
    return [later - before for before, later in itertools.pairwise(times)]


def test_the_first_question_comes_within_30_seconds_and_each_next_after_5_to_15_minutes(
    tmp_path: Path, centre: FakeCentre
) -> None:
    asker = Asker(tmp_path, centre)
    assert asker.times(centre, "rekey", 3600, 60) == []  # nobody refuses it
    asker.link.rejected = True
    times = asker.times(centre, "rekey", 4 * 3600, 1)
    assert times[0] <= 31 and len(times) > 10
    assert all(300 <= gap <= 901 for gap in gaps(times)) and len(set(gaps(times))) > 5
    asker.link.rejected, asker.link.connected = False, True
    asker.times(centre, "rekey", 10, 1)
    asker.link.rejected, asker.link.connected = True, False  # let in and refused in turns: not more often
    assert all(gap >= 300 for gap in gaps(asker.times(centre, "rekey", 3600, 1)))


def test_an_identity_of_just_now_is_not_replaced_at_once(tmp_path: Path, centre: FakeCentre) -> None:
    asker = Asker(tmp_path, centre)
    asker.renewal = Renewal(asker.link.settings, asker.link, asker.clock, new=True)
    asker.link.rejected = True  # the broker has not heard of it yet
    assert asker.times(centre, "rekey", 1000, 1)[0] >= 300


def test_a_centre_that_asks_for_patience_gets_it(tmp_path: Path, centre: FakeCentre) -> None:
    centre.instead["/api/v1/rekey"] = (429, {"Retry-After": "7200"}, b"")
    asker = Asker(tmp_path, centre)
    asker.link.rejected = True
    assert all(7200 <= gap <= 7211 for gap in gaps(asker.times(centre, "rekey", 9 * 3600, 10)))


def test_a_renewal_is_tried_again_after_6_to_12_hours(tmp_path: Path, centre: FakeCentre) -> None:
    centre.instead["/api/v1/renew"] = (500, {}, b"")
    asker = Asker(tmp_path, centre, age=267.1)
    assert asker.times(centre, "renew", 3600, 60) == []  # nobody has confirmed what time it is
    asker.link.wallclock.learn(int(time.time() * 1000))
    times = asker.times(centre, "renew", 100 * 3600, 60)
    assert times[0] == 0 and len(times) > 8
    assert all(6 * 3600 <= gap <= 12 * 3600 + 60 for gap in gaps(times)) and len(set(gaps(times))) > 3


@pytest.mark.parametrize(("age", "due"), [(266.9, False), (267.1, True)])
def test_day_267_of_400_is_the_day_by_the_centres_time(
    tmp_path: Path, centre: FakeCentre, age: float, due: bool
) -> None:
    asker = Asker(tmp_path, centre, age)
    asker.link.wallclock.learn(int(time.time() * 1000))
    assert bool(asker.times(centre, "renew", 1, 1)) is due
    asker.link.wallclock.learn(int((time.time() - 40 * 86_400) * 1000))  # this machine's own clock is not asked
    asker.clock.now += 13 * 3600
    assert asker.times(centre, "renew", 1, 1) == []


def test_a_place_that_can_not_be_written_is_found_out_before_the_centre_is_asked(
    tmp_path: Path, centre: FakeCentre, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    centre.rekeys["d1"] = "d9"
    asker = Asker(tmp_path, centre)
    asker.link.rejected = True

    def full(path: Path, text: str, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "put", full)
    assert asker.times(centre, "rekey", 3600, 1) == [] and not asker.renewal.replaced
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    monkeypatch.undo()
    assert len(asker.times(centre, "rekey", 1000, 1)) == 1 and asker.renewal.replaced


def test_the_files_of_a_renewal_make_a_context(tmp_path: Path, centre: FakeCentre) -> None:
    asker = Asker(tmp_path, centre, age=300)
    asker.link.wallclock.learn(int(time.time() * 1000))
    asker.renewal.work()
    own = settings.load(tmp_path / "etc" / "agent.toml").certificate()
    assert own
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*own)
    assert renewal.renew_from(own) > time.time() * 1000 + 266 * 86_400_000
