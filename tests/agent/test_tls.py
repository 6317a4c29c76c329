"""TLS to the broker: nobody else is taken for it; a dead clock locks no machine out and lets no old key in."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Client
from running import Mosquitto, free_port, wait_until

from schoolpulse_agent import settings, tls, wire
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.tls import MADE
from schoolpulse_agent.wallclock import WallClock

BATTERY_DEAD = 86_400.0  # one day after 1970


class Secured:
    """A broker that listens for TLS and, for the test's own collector, without."""

    def __init__(self, folder: Path, valid: timedelta, name: str = "localhost") -> None:
        self.port, self.ca_file = free_port(), folder / "ca.pem"
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(self.ca_file))
        begins = datetime.now(UTC) - timedelta(days=30)
        issued = ca.issue_cert(name, not_before=begins, not_after=begins + valid)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        more = f"listener {self.port} 127.0.0.1\nuse_username_as_clientid true\n"
        more += f"certfile {folder}/server.pem\nkeyfile {folder}/server.pem\n"
        self.broker = Mosquitto(folder / "broker", {"d1": "s1", "collector": "c"}, more)


class Sender:
    """A device with one report; ``clock``: what its machine takes for the time, unix seconds at its start."""

    def __init__(self, folder: Path, secured: Secured, clock: float, ca_file: Path | None = None) -> None:
        document = {
            "device": {"id": "d1", "school": "s", "secret": "s1"},
            "broker": {"url": f"mqtts://localhost:{secured.port}", "ca_file": str(ca_file or secured.ca_file)},
        }
        off = clock - time.time()
        self.outbox = Outbox(folder / "outbox", folder / "live")
        wallclock = WallClock(lambda: time.time() + off)
        self.link = Link(settings.parse(document, "test"), self.outbox, wallclock)
        self.outbox.append(wallclock.now(), wallclock.uptime(), {"cpu": {"usage_active": 1.0}})

    def work_until(self, true, seconds: float = 8) -> bool:
        def done():
            self.link.work()
            return true()

        try:
            return bool(wait_until(done, seconds, "it happens"))
        except AssertionError:
            return False

    def close(self) -> None:
        self.link.close(0)
        self.outbox.close()


@pytest.fixture
def valid() -> timedelta:
    return timedelta(days=400)


@pytest.fixture
def secured(tmp_path: Path, valid: timedelta) -> Iterator[Secured]:
    made = Secured(tmp_path, valid)
    yield made
    made.broker.stop()


def answer(collector: Client, sender: Sender, now: float | None = None) -> None:
    receipt = wire.Receipt(int((now or time.time()) * 1000), {sender.outbox.epoch: Ranges()})
    collector.say(wire.down_topic("d1", "receipt"), wire.encode_receipt(receipt))


def listening(secured: Secured) -> Client:
    made = Client(secured.broker.port, "collector", "c")
    made.listen("sp/v1/up/#")
    return made


def said(collector: Client, kind: str) -> bool:
    found = []
    while not collector.heard.empty():
        found.append(collector.heard.get()[0])
    return any(topic.endswith(kind) for topic in found)


def told_the_time(folder: Path, secured: Secured) -> tuple[Client, Sender]:
    """A sender with a dead clock that got in, and the collector that has answered its hello."""
    collector, sender = listening(secured), Sender(folder, secured, BATTERY_DEAD)
    assert sender.work_until(lambda: sender.link.connected)
    assert sender.work_until(lambda: said(collector, "presence"))
    answer(collector, sender)
    return collector, sender


def test_a_machine_with_a_dead_clock_gets_in_and_its_report_has_the_right_time(
    tmp_path: Path, secured: Secured
) -> None:
    collector, sender = told_the_time(tmp_path, secured)
    assert sender.work_until(lambda: not collector.heard.empty())
    topic, body = collector.hear()
    assert topic.endswith("report")
    assert abs(wire.decode(body).reports[0].t / 1000 - time.time()) < 10
    sender.close()
    collector.close()


@pytest.mark.parametrize("valid", [timedelta(days=3)])
def test_a_certificate_that_has_expired_is_noticed_as_soon_as_the_time_is_known(
    tmp_path: Path, secured: Secured
) -> None:
    collector, sender = told_the_time(tmp_path, secured)
    assert sender.work_until(lambda: sender.link.refused == "certificate out of date")
    assert not sender.link.connected and not sender.link.wallclock.settled
    assert not said(collector, "report")
    sender.close()
    collector.close()


@pytest.mark.parametrize("valid", [timedelta(days=3)])
def test_a_machine_that_knows_the_time_refuses_an_expired_certificate_at_once(tmp_path: Path, secured: Secured) -> None:
    assert time.time() > MADE
    sender = Sender(tmp_path, secured, time.time())
    assert not sender.work_until(lambda: sender.link.connected, 2)
    assert "certificate has expired" in str(sender.link.refused)
    sender.close()


def test_a_dead_clock_does_not_make_a_machine_trust_another_issuer(tmp_path: Path, secured: Secured) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    sender = Sender(tmp_path, secured, BATTERY_DEAD, tmp_path / "other.pem")
    assert not sender.work_until(lambda: sender.link.connected, 2)
    assert "certificate verify failed" in str(sender.link.refused)
    sender.close()


def test_a_dead_clock_does_not_make_a_machine_trust_another_name(tmp_path: Path, valid: timedelta) -> None:
    secured = Secured(tmp_path, valid, "elsewhere.example")
    sender = Sender(tmp_path, secured, BATTERY_DEAD)
    assert not sender.work_until(lambda: sender.link.connected, 2)
    assert "certificate verify failed" in str(sender.link.refused)
    sender.close()
    secured.broker.stop()


# Certificates of one's own

CA = trustme.CA()
WHEN = st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1))  # both forms of time: UTCTime until 2049


@given(first=WHEN, last=WHEN)
def test_a_certificates_dates_are_read_as_openssl_reads_them(first: datetime, last: datetime) -> None:
    first, last = sorted((first.replace(tzinfo=UTC, microsecond=0), last.replace(tzinfo=UTC, microsecond=0)))
    pem = CA.issue_cert("d1", not_before=first, not_after=last).cert_chain_pems[0].bytes().decode()
    read = x509.load_pem_x509_certificate(pem.encode())
    dates = (read.not_valid_before_utc, read.not_valid_after_utc)
    assert tls.validity(pem) == tls.validity(pem + pem) == tuple(int(date.timestamp() * 1000) for date in dates)


@given(st.data())
def test_what_is_no_certificate_raises_value_error_and_nothing_else(data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(CA.cert_pem.bytes().decode()))
    for _ in range(data.draw(st.integers(1, 5))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    der = der[: data.draw(st.integers(0, len(der)))] if data.draw(st.booleans()) else der
    with contextlib.suppress(ValueError):
        tls.validity(ssl.DER_cert_to_PEM_cert(bytes(der)))
    with pytest.raises(ValueError):
        tls.validity(data.draw(st.text(max_size=20)))


@pytest.mark.parametrize(
    "said",
    [
        "failed to receive on socket: [SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired",
        "[SSL: SSLV3_ALERT_CERTIFICATE_REVOKED] sslv3 alert certificate revoked (_ssl.c:1006)",
        "[SSL: SSL/TLS_ALERT_CERTIFICATE_REVOKED] ssl/tls alert certificate revoked (_ssl.c:1032)",
        "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)",
        "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)",
        "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)",
        "[SSL: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:4067)",
    ],
)
def test_a_brokers_word_against_our_certificate_is_understood(said: str) -> None:
    assert tls.is_rejection(said)


@pytest.mark.parametrize(
    "said",
    [
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
        "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error (_ssl.c:1006)",
        "[Errno 104] Connection reset by peer",
        "[Errno 111] Connection refused",
        "EOF occurred in violation of protocol (_ssl.c:1006)",
    ],
)
def test_trouble_of_network_or_broker_is_no_word_against_our_certificate(said: str) -> None:
    assert not tls.is_rejection(said)
