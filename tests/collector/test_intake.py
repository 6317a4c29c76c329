"""What becomes of messages, good and bad, on real brokers: stored and receipted, or refused, counted and kept aside."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline import Client, Pipeline, pipeline
from running import wait_until

from schoolpulse_agent import wire

TOPIC = "sp/v1/up/s/d1/report"


@pytest.fixture(params=["amqtt", "mosquitto"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    with pipeline(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def device(running: Pipeline) -> Iterator[Client]:
    client = Client(running.port, "d1", running.secrets["d1"])
    client.listen("sp/v1/down/d1/receipt")
    yield client
    client.close()


def now() -> int:
    return int(time.time() * 1000)


def message(*reports: Any, epoch: int = 7, low: int = 1, **other: Any) -> bytes:
    return json.dumps({"v": 1, "epoch": epoch, "low": low, "reports": reports, **other}).encode()


def report(seq: int, m: Any = None, t: int | None = None) -> dict[str, Any]:
    return {
        "seq": seq,
        "t": now() if t is None else t,
        "up": 5.0,
        "m": {"cpu": {"usage_active": seq}} if m is None else m,
    }


def receipt(device: Client) -> wire.Receipt:
    return wire.decode_receipt(device.hear()[1])


def test_a_good_report_is_receipted_and_stored_with_its_value_and_its_lag(running: Pipeline, device: Client) -> None:
    device.say(TOPIC, message(report(1), report(2)))
    answer = receipt(device)
    assert {epoch: list(seqs) for epoch, seqs in answer.epochs.items()} == {7: [(1, 2)]}
    assert abs(answer.now - now()) < 5000
    wait_until(lambda: len(running.stored("cpu", "usage_active")) == 2, 10, "both are stored")
    assert sorted(running.stored("cpu", "usage_active")) == [1.0, 2.0]
    assert all(0 <= lag < 5000 for lag in running.stored("report", "lag_ms"))
    assert running.presence.of("d1").state == "online"


def test_a_report_that_comes_again_is_receipted_again_and_stored_once(running: Pipeline, device: Client) -> None:
    body = message(report(1))
    for _ in range(3):
        device.say(TOPIC, body)
        assert 1 in receipt(device).epochs[7]
    device.say(TOPIC, message(report(2)))  # and after all of that it goes on
    wait_until(lambda: len(running.stored("cpu", "usage_active")) == 2, 10, "the next one is stored")
    assert running.counted("schoolpulse_reports_repeated_total") == 2


UNREADABLE = {
    "json": b"not json at all",
    "zlib": zlib.compress(b"x" * 5000)[:-9],
    "too_large": zlib.compress(b" " * 10_000_000),
    "shape": b"[1,2,3]",
    "version": message(report(1), v=2),
}
REFUSED = {
    "empty": report(1, {}),
    "value": report(1, {"cpu": {"usage_active": None}}),
    "name": report(1, {"cpu": {"u" * 65: 1}}),
    "time": report(1, t=1_000_000),
}


@pytest.mark.parametrize("reason", UNREADABLE)
def test_a_message_that_can_not_be_read_is_counted_and_kept_aside_and_not_receipted(
    running: Pipeline, device: Client, reason: str
) -> None:
    device.say(TOPIC, UNREADABLE[reason])
    wait_until(lambda: running.counted("schoolpulse_refused_total", reason=reason) == 1, 10, "it is counted")
    device.say(TOPIC, message(report(9)))
    assert {epoch: list(seqs) for epoch, seqs in receipt(device).epochs.items()} == {7: [(9, 9)]}
    assert [letter["reason"] for letter in running.letters()] == [reason]


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refused_report_is_kept_aside_and_receipted_and_its_neighbours_are_stored(
    running: Pipeline, device: Client, reason: str
) -> None:
    device.say(TOPIC, message(REFUSED[reason], report(2)))
    assert list(receipt(device).epochs[7]) == [(1, 2)]  # or it would come for ever
    wait_until(lambda: running.stored("cpu", "usage_active") == [2.0], 10, "the good one is stored")
    assert running.counted("schoolpulse_refused_total", reason=reason) == 1
    assert [letter["reason"] for letter in running.letters()] == [reason]


@pytest.mark.parametrize("value", ["NaN", "true", "Infinity", "1e999", '"text"', "[1]"])
def test_a_value_that_is_no_number_never_reaches_the_store(running: Pipeline, device: Client, value: str) -> None:
    body = message(report(1, {"cpu": {"usage_active": "HERE"}})).replace(b'"HERE"', value.encode())
    device.say(TOPIC, body)
    device.say(TOPIC, message(report(2)))
    wait_until(lambda: running.stored("cpu", "usage_active") == [2.0], 10, "the good one is stored")
    assert len(running.letters()) == 1


@pytest.mark.parametrize("year", [1970, 2039])
def test_a_report_of_another_time_is_refused_and_receipted(running: Pipeline, device: Client, year: int) -> None:
    device.say(TOPIC, message(report(1, t=(year - 1970) * 31_557_600_000)))
    assert list(receipt(device).epochs[7]) == [(1, 1)]
    assert running.counted("schoolpulse_refused_total", reason="time") == 1
    assert running.presence.of("d1").state == "unknown"


def test_late_data_is_stored_but_says_nothing_of_now(running: Pipeline, device: Client) -> None:
    device.say(TOPIC, message(report(1, t=now() - 30 * 86_400_000)))
    wait_until(lambda: running.stored("cpu", "usage_active") == [1.0], 10, "it is stored")
    assert running.presence.of("d1").state == "unknown"


def test_a_device_that_was_revoked_gets_no_receipt_and_stores_nothing(running: Pipeline, device: Client) -> None:
    running.registry.revoke("d1")
    time.sleep(1.2)  # the roster is a second behind at most
    device.say(TOPIC, message(report(1)))

    def refused() -> bool:  # by the embedded broker's door already, or by the intake
        at_the_door = running.counted("schoolpulse_broker_refused_total", what="publish")
        return at_the_door + running.counted("schoolpulse_refused_total", reason="unknown_device") == 1

    wait_until(refused, 10, "it is refused")
    assert device.heard.empty() and running.stored("cpu", "usage_active") == []


def test_samples_carry_the_registrys_school_and_not_the_topics(running: Pipeline, device: Client) -> None:
    device.say("sp/v1/up/another-school/d1/report", message(report(1)))
    wait_until(lambda: running.stored("cpu", "school") == ["s"], 10, "it is stored under its own school")


def test_a_hello_is_answered_with_what_is_here_of_its_epoch(running: Pipeline, device: Client) -> None:
    device.say(TOPIC, message(report(1), report(2), report(5)))
    receipt(device)
    device.say("sp/v1/up/s/d1/presence", wire.encode_presence(wire.Presence("online", "s1", 7, now(), 5)))
    assert list(receipt(device).epochs[7]) == [(1, 2), (5, 5)]
    assert running.presence.of("d1").state == "online"


def test_nothing_is_receipted_while_the_disk_takes_nothing_and_all_is_when_it_does(
    running: Pipeline, device: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = running.spool.append

    def full(_: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running.spool, "append", full)
    device.say(TOPIC, message(report(1)))
    wait_until(lambda: running.counted("schoolpulse_spool_errors_total") >= 1, 10, "the disk was tried")
    assert device.heard.empty()
    monkeypatch.setattr(running.spool, "append", append)
    assert list(receipt(device).epochs[7]) == [(1, 1)]
    wait_until(lambda: running.stored("cpu", "usage_active") == [1.0], 10, "it is stored once")


def test_one_device_is_logged_once_a_minute_however_much_it_sends(
    running: Pipeline, device: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        device.say(TOPIC, b"rubbish")
    wait_until(lambda: running.counted("schoolpulse_refused_total", reason="json") == 20, 10, "all are counted")
    assert len([each for each in caplog.records if "refused from" in each.message]) == 1


def test_a_mistake_of_ours_does_not_stop_what_comes_after_it(
    running: Pipeline, device: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = running.roster.get

    def fail(name: str) -> object:
        if threading.current_thread().name == "intake":
            raise RuntimeError("a mistake")
        return get(name)

    monkeypatch.setattr(running.roster, "get", fail)
    for _ in range(5):
        device.mqtt.publish(TOPIC, message(report(1)), qos=1)
    time.sleep(0.7)
    monkeypatch.setattr(running.roster, "get", get)
    device.say(TOPIC, message(report(2)))
    assert 2 in receipt(device).epochs[7]


def test_a_hello_after_many_gaps_gets_a_short_answer(running: Pipeline, device: Client) -> None:
    for start in range(1, 1200, 120):
        device.say(TOPIC, message(*(report(seq) for seq in range(start, start + 120, 2))))
        receipt(device)
    device.say("sp/v1/up/s/d1/presence", wire.encode_presence(wire.Presence("online", "s1", 7, now(), 5)))
    ranges = list(receipt(device).epochs[7])
    assert len(ranges) <= 200 and ranges[-1] == (1199, 1199)
