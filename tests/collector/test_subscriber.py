"""Messages that were read ahead are bounded by bytes: past that the broker holds them, and none is lost."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import Client
from running import Mosquitto, wait_until

from schoolpulse_collector import subscriber as module
from schoolpulse_collector.subscriber import OVERHEAD, Inbox, Message, Subscriber


def message(number: int, size: int = 0) -> Message:
    return Message(f"t{number}", bytes(size), number, 1, 1)


def test_an_inbox_is_full_by_bytes_and_not_by_messages() -> None:
    inbox = Inbox(5 * OVERHEAD)
    inbox.put_nowait(message(1, 4 * OVERHEAD))
    assert inbox.full()
    with pytest.raises(queue.Full):
        inbox.put_nowait(message(2))
    many = Inbox(5 * OVERHEAD)
    for number in range(5):
        assert not many.full()
        many.put_nowait(message(number))
    assert many.full()


def test_filled_tells_the_part_of_its_room_that_is_taken() -> None:
    inbox = Inbox(10 * OVERHEAD)
    assert inbox.filled == 0
    inbox.put(message(1, 500))
    inbox.put(message(2, 1500))
    assert inbox.filled == pytest.approx(0.4)
    inbox.get()
    assert inbox.filled == pytest.approx(0.25)
    inbox.put(message(3, 9 * OVERHEAD))  # a last one goes in as long as there is any room
    assert inbox.filled == pytest.approx(1.25)
    assert [inbox.get().mid, inbox.get().mid, inbox.empty(), inbox.filled] == [2, 3, True, 0]


def test_who_puts_into_a_full_inbox_waits_until_something_is_taken_out_and_the_order_stays() -> None:
    inbox, put = Inbox(3 * OVERHEAD), list[int]()

    def fill() -> None:
        for number in range(50):
            inbox.put(message(number))
            put.append(number)

    putter = threading.Thread(target=fill)
    putter.start()
    wait_until(lambda: len(put) == 3, 5, "it is full")
    time.sleep(0.1)
    assert put == [0, 1, 2]
    assert inbox.get().mid == 0
    wait_until(lambda: len(put) == 4, 5, "there was room for one more")
    assert [inbox.get(timeout=5).mid for _ in range(49)] == list(range(1, 50))
    putter.join(5)
    assert not putter.is_alive()
    assert inbox.filled == 0


# On a real broker.


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "mosquitto", {"d1": "s3cret", "collector": "c"})
    yield made
    made.stop()


@pytest.fixture
def sender(broker: Mosquitto) -> Iterator[Client]:
    client = Client(broker.port, "d1", "s3cret")
    yield client
    client.close()


def subscriber(broker: Mosquitto) -> Subscriber:
    made = Subscriber(f"mqtt://127.0.0.1:{broker.port}", "c")
    made.start()
    wait_until(lambda: made.connected, 10, "it is connected")
    time.sleep(0.2)  # and subscribed
    return made


def say(sender: Client, first: int, last: int) -> None:
    for number in range(first, last + 1):
        sender.say("sp/v1/up/s/d1/report", b"%d" % number)


def take(subscriber: Subscriber, count: int, acknowledge: bool = True) -> list[int]:
    found = []
    for _ in range(count):
        got = subscriber.inbox.get(timeout=10)
        if acknowledge:
            subscriber.acknowledge(got)
        found.append(int(got.payload))
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INBOX_BYTES", 5 * OVERHEAD)  # four or five messages


@pytest.mark.usefixtures("small")
def test_what_does_not_fit_waits_at_the_broker_and_comes_when_there_is_room(broker: Mosquitto, sender: Client) -> None:
    collector = subscriber(broker)
    say(sender, 1, 40)
    wait_until(collector.inbox.full, 5, "it is full")
    time.sleep(0.2)
    assert 1.0 <= collector.inbox.filled < 1.3
    assert take(collector, 40) == list(range(1, 41))
    assert collector.connected
    collector.stop()


@pytest.mark.usefixtures("small")
def test_it_stops_with_a_full_inbox_and_what_was_not_acknowledged_comes_to_the_next(
    broker: Mosquitto, sender: Client
) -> None:
    collector = subscriber(broker)
    say(sender, 1, 40)
    assert take(collector, 3) == [1, 2, 3]
    wait_until(collector.inbox.full, 5, "it is full")
    stopper = threading.Thread(target=collector.stop, daemon=True)
    stopper.start()
    stopper.join(10)
    assert not stopper.is_alive()
    following = subscriber(broker)
    taken = take(following, 37)
    taken += take(following, 40 - taken[-1])  # an acknowledgement may not have left before the end
    assert taken == list(range(taken[0], 41)) and taken[0] <= 4
    following.stop()


def test_only_what_was_acknowledged_is_gone(broker: Mosquitto, sender: Client) -> None:
    collector = subscriber(broker)
    say(sender, 1, 10)
    assert take(collector, 4) == [1, 2, 3, 4]
    assert take(collector, 6, acknowledge=False) == [5, 6, 7, 8, 9, 10]
    time.sleep(0.1)
    collector.stop()
    following = subscriber(broker)
    assert take(following, 6) == [5, 6, 7, 8, 9, 10]
    time.sleep(0.2)
    assert following.inbox.empty()
    following.stop()


def test_a_message_of_an_earlier_connection_is_not_acknowledged_on_this_one(broker: Mosquitto, sender: Client) -> None:
    collector = subscriber(broker)
    say(sender, 1, 1)
    before = collector.inbox.get(timeout=5)
    broker.kill()
    wait_until(lambda: not collector.connected, 10, "the cut is noticed")
    broker.start()
    wait_until(lambda: collector.connected, 10, "it is back")
    time.sleep(0.2)
    again = Client(broker.port, "d1", "s3cret")
    say(again, 2, 2)
    got = collector.inbox.get(timeout=5)
    assert (got.payload, got.connection) == (b"2", before.connection + 1)
    assert got.mid == before.mid  # so it would be taken for this one
    collector.acknowledge(before)
    time.sleep(0.1)
    collector.stop()
    following = subscriber(broker)
    assert take(following, 1) == [2]
    following.stop()
    again.close()
