"""The link on real brokers, with a collector that answers exactly as a test wants it to."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
from pipeline import Client
from running import Mosquitto, free_port, wait_until

from schoolpulse_agent import link, remote, settings, wire
from schoolpulse_agent.link import About, Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.parts import decode_inventory, inventory_of
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.wallclock import WallClock
from schoolpulse_agent.window import WINDOW

SECRET = "s3cret"
REPORT = "sp/v1/up/s/d1/report"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path / "mosquitto", {"d1": SECRET, "collector": "c"})
    yield made
    made.stop()


@pytest.fixture
def collector(broker: Mosquitto) -> Iterator[Client]:
    client = Client(broker.port, "collector", "c")
    client.listen("sp/v1/up/#")
    yield client
    client.close()


class Sender:
    """A link and its outbox, worked by hand."""

    def __init__(self, folder: Path, port: int, **reports: Any) -> None:
        document = {
            "device": {"id": "d1", "school": "s", "secret": SECRET},
            "broker": {"url": f"mqtt://127.0.0.1:{port}"},
            "reports": {"interval": 1, "folder": str(folder), "replay_spread": 0, "replay_rate": 1000, **reports},
        }
        self.outbox = Outbox(folder, folder / "live")
        self.link = Link(settings.parse(document, "test"), self.outbox, WallClock())

    def append(self, count: int = 1) -> None:
        for _ in range(count):
            self.outbox.append(int(time.time() * 1000), 1.0, {"cpu": {"usage_active": 1.0}})

    def work_until(self, true: Callable[[], Any], what: str, seconds: float = 10) -> Any:
        def step() -> Any:
            self.link.work()
            return true()

        return wait_until(step, seconds, what)

    def held(self) -> int:
        return sum(map(len, self.outbox.held().values()))


@pytest.fixture
def sender(tmp_path: Path, broker: Mosquitto) -> Iterator[Sender]:
    made = Sender(tmp_path / "outbox", broker.port)
    yield made
    made.link.close(0)
    made.outbox.close()


def next_of(collector: Client, sender: Sender, kind: str) -> bytes:
    """The next message of a kind, while the sender works."""

    def heard() -> bytes | None:
        while not collector.heard.empty():
            topic, payload = collector.heard.get()
            if b'"online"' in payload and kind == "report":  # as the collector does
                answer(collector, sender.outbox.epoch)
            if topic.endswith(f"/{kind}"):
                return payload
        return None

    return sender.work_until(heard, f"a {kind}")


def hello(collector: Client, sender: Sender) -> bytes:
    """Hear the hello and answer it; return when the sender has the answer."""
    said = next_of(collector, sender, "presence")
    answer(collector, sender.outbox.epoch)
    sender.work_until(lambda: sender.link.wallclock.settled, "it knows the time")
    return said


def answer(collector: Client, epoch: int, *ranges: tuple[int, int], replay: float | None = None) -> None:
    body = wire.encode_receipt(wire.Receipt(int(time.time() * 1000), {epoch: Ranges(ranges)}, replay))
    collector.say("sp/v1/down/d1/receipt", body)


def seqs(payload: bytes) -> list[int]:
    return [report.seq for report in wire.decode(payload).reports]


def test_a_connection_begins_with_a_hello_that_says_epoch_clock_and_interval(sender: Sender, collector: Client) -> None:
    said = wire.decode_presence(hello(collector, sender))
    assert (said.state, said.epoch, said.interval) == ("online", sender.outbox.epoch, 1.0)
    assert abs(said.clock - time.time() * 1000) < 5000


def test_a_report_goes_out_at_once_and_is_deleted_only_when_its_receipt_comes(
    sender: Sender, collector: Client
) -> None:
    hello(collector, sender)
    sender.append()
    assert seqs(next_of(collector, sender, "report")) == [1]
    for _ in range(10):  # a PUBACK alone deletes nothing
        sender.link.work()
        time.sleep(0.02)
    assert sender.held() == 1
    answer(collector, sender.outbox.epoch, (1, 1))
    sender.work_until(lambda: sender.held() == 0, "the report is deleted")


def test_exactly_the_ranges_of_a_receipt_are_deleted(sender: Sender, collector: Client) -> None:
    sender.append(10)
    next_of(collector, sender, "report")
    answer(collector, sender.outbox.epoch, (2, 4), (9, 9))
    sender.work_until(lambda: sender.held() == 6, "four are deleted")
    assert list(sender.outbox.held()[sender.outbox.epoch]) == [(1, 1), (5, 8), (10, 10)]


def test_what_has_no_receipt_goes_again_after_two_intervals_and_then_after_four(
    sender: Sender, collector: Client
) -> None:
    hello(collector, sender)
    sender.append()
    times = []
    for _ in range(3):
        assert seqs(next_of(collector, sender, "report")) == [1]
        times.append(time.monotonic())
    assert times[1] - times[0] > 1.8
    assert times[2] - times[1] > 3.8


def test_at_most_three_messages_are_without_a_receipt(sender: Sender, collector: Client) -> None:
    hello(collector, sender)
    for _ in range(10):
        sender.append()
        sender.link.work()
    published = [next_of(collector, sender, "report") for _ in range(WINDOW)]
    time.sleep(0.2)
    sender.link.work()
    assert collector.heard.empty() and len(published) == WINDOW
    answer(collector, sender.outbox.epoch, *((seq, seq) for body in published for seq in seqs(body)))
    assert min(seqs(next_of(collector, sender, "report"))) > max(seq for body in published for seq in seqs(body))


def test_after_a_cut_the_newest_report_goes_first_and_the_backlog_in_messages_of_sixty(
    tmp_path: Path, broker: Mosquitto, collector: Client
) -> None:
    sender = Sender(tmp_path / "outbox", broker.port)
    sender.append(150)
    first = next_of(collector, sender, "report")
    assert seqs(first) == [150] and wire.decode(first).low == 1
    answer(collector, sender.outbox.epoch, (150, 150))
    got: list[int] = []
    while len(got) < 149:
        body = next_of(collector, sender, "report")
        assert len(seqs(body)) <= wire.MAX_REPORTS
        got += seqs(body)
        answer(collector, sender.outbox.epoch, (min(seqs(body)), max(seqs(body))))
    assert got == list(range(1, 150))
    sender.work_until(lambda: sender.held() == 0, "nothing is left")
    sender.link.close(0)
    sender.outbox.close()


def test_reports_of_an_earlier_start_go_out_under_their_own_epoch(
    tmp_path: Path, broker: Mosquitto, collector: Client
) -> None:
    before = Sender(tmp_path / "outbox", broker.port)
    before.append(2)  # and then it is killed: no close
    after = Sender(tmp_path / "outbox", broker.port)
    after.append()
    found = {}
    while len(found) < 2:
        batch = wire.decode(next_of(collector, after, "report"))
        found[batch.epoch] = [report.seq for report in batch.reports]
    assert found == {before.outbox.epoch: [1, 2], after.outbox.epoch: [1]}
    after.link.close(0)
    after.outbox.close()


def test_the_backlog_waits_its_random_time_but_live_reports_do_not(
    tmp_path: Path, broker: Mosquitto, collector: Client
) -> None:
    sender = Sender(tmp_path / "outbox", broker.port, replay_spread=3600)
    sender.append(20)
    assert seqs(next_of(collector, sender, "report")) == [20]
    answer(collector, sender.outbox.epoch, (20, 20))
    sender.append()
    assert seqs(next_of(collector, sender, "report")) == [21]
    assert sender.held() == 20
    sender.link.close(0)
    sender.outbox.close()


class Paced:
    """A collector that tells a sender with a backlog how fast to go."""

    def __init__(self, collector: Client, sender: Sender, backlog: int, replay: float) -> None:
        self.collector, self.sender = collector, sender
        sender.append(backlog + 1)  # the newest is live
        next_of(collector, sender, "presence")
        answer(collector, sender.outbox.epoch, replay=replay)
        assert self.take(replay) == [backlog + 1]

    def take(self, replay: float | None) -> list[int]:
        """The seqs of the next message, which is receipted."""
        found = seqs(next_of(self.collector, self.sender, "report"))
        self.say(replay, (min(found), max(found)))
        return found

    def say(self, replay: float | None, *ranges: tuple[int, int]) -> None:
        """Send a receipt; return when the sender has it."""
        receipts = self.sender.link.receipts
        answer(self.collector, self.sender.outbox.epoch, *ranges, replay=replay)
        self.sender.work_until(lambda: self.sender.link.receipts > receipts, "it has the receipt")

    def quiet(self, seconds: float = 0.4) -> bool:
        """Whether the sender, left to work, sends nothing."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sender.link.work()
            time.sleep(0.01)
        return self.collector.heard.empty()


def test_a_receipt_sets_the_pace_of_the_backlog(sender: Sender, collector: Client) -> None:
    told, times = Paced(collector, sender, 420, replay=2.0), []
    for first in (1, 61, 121):
        assert told.take(2.0) == list(range(first, first + 60))
        times.append(time.monotonic())
    assert min(later - before for before, later in itertools.pairwise(times)) > 0.25
    told.say(1000.0)
    start = time.monotonic()
    assert [len(told.take(1000.0)) for _ in range(4)] == [60] * 4
    assert time.monotonic() - start < 1.5
    assert sender.held() == 0


def test_a_pace_of_zero_pauses_the_backlog_while_live_reports_go_on_and_a_later_one_resumes_it(
    sender: Sender, collector: Client
) -> None:
    told = Paced(collector, sender, 120, replay=0)
    for seq in (122, 123, 124):
        assert told.quiet()
        sender.append()
        assert told.take(0) == [seq]
    told.say(None)  # says nothing of a pace: it stays
    assert told.quiet()
    assert list(sender.outbox.held()[sender.outbox.epoch]) == [(1, 120)]
    assert sender.link.due() > time.monotonic() + 5  # nothing to wake up for
    told.say(1000.0)
    assert told.take(1000.0) + told.take(1000.0) == list(range(1, 121))


def test_a_backlog_that_is_under_way_pauses_too(sender: Sender, collector: Client) -> None:
    told = Paced(collector, sender, 120, replay=2.0)
    assert told.take(0) == list(range(1, 61))
    assert told.quiet(1.0)
    told.say(2.0)
    assert told.take(2.0) == list(range(61, 121))


def test_after_a_pause_senders_do_not_all_begin_at_once(tmp_path: Path, broker: Mosquitto, collector: Client) -> None:
    sender = Sender(tmp_path / "outbox", broker.port, replay_spread=3600)
    told = Paced(collector, sender, 60, replay=0)
    sender.link.window._replay_at = 0.0  # its random time after the connection has come, and it is paused still
    assert told.quiet()
    told.say(1000.0)
    assert told.quiet()
    sender.link.window._replay_at = 0.0  # and so has the one after the pause
    assert told.take(1000.0) == list(range(1, 61))
    sender.link.close(0)
    sender.outbox.close()


def test_a_pace_that_makes_no_sense_is_ignored_with_its_receipt(sender: Sender, collector: Client) -> None:
    told = Paced(collector, sender, 60, replay=0)
    for bad in (b"-1", b"true", b"1e9", b'"5"', b"NaN"):
        body = b'{"now":1,"epochs":{"%d":[[1,60]]},"replay":%s}' % (sender.outbox.epoch, bad)
        collector.say("sp/v1/down/d1/receipt", body)
    assert told.quiet()
    assert sender.held() == 60


def test_after_a_broker_was_killed_it_comes_back_by_itself_with_a_new_session(
    sender: Sender, broker: Mosquitto, collector: Client
) -> None:
    first = wire.decode_presence(hello(collector, sender)).session
    sender.append()
    next_of(collector, sender, "report")
    broker.kill()
    sender.work_until(lambda: not sender.link.connected, "the cut is noticed")
    sender.append()
    broker.start()
    back = Client(broker.port, "collector", "c")
    back.listen("sp/v1/up/#")
    assert wire.decode_presence(next_of(back, sender, "presence")).session != first
    found = {seq for _ in range(2) for seq in seqs(next_of(back, sender, "report"))}
    assert found == {1, 2}
    back.close()


def test_a_goodbye_is_said_at_a_clean_end_and_the_last_will_at_any_other(
    tmp_path: Path, broker: Mosquitto, collector: Client
) -> None:
    clean = Sender(tmp_path / "clean", broker.port)
    next_of(collector, clean, "presence")
    clean.link.close(1)
    assert json.loads(collector.hear()[1])["state"] == "bye"
    cut = Sender(tmp_path / "cut", broker.port)
    session = wire.decode_presence(next_of(collector, cut, "presence")).session
    cut.link.socket().close()
    assert json.loads(collector.hear()[1]) == {"state": "offline", "session": session}


def test_a_refusal_is_said_in_the_log_once_and_tried_again_later(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender(tmp_path / "outbox", broker.port)
    sender.link._secret = "wrong"
    sender.work_until(lambda: sender.link.refused, "it is refused")
    for _ in range(50):
        sender.link.work()
        time.sleep(0.05)
    said = [record.message for record in caplog.records if "refuses device d1" in record.message]
    assert len(said) == 1 and "enrolled" in said[0]


def test_a_dead_broker_costs_no_exception_and_no_report(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "outbox", free_port())
    sender.append(3)
    for _ in range(20):
        sender.link.work()
    assert sender.held() == 3 and "refused" in (sender.link.refused or "").lower()
    assert sender.link.due() < time.monotonic() + 5
    sender.outbox.close()


def test_rubbish_receipts_are_ignored(sender: Sender, collector: Client) -> None:
    hello(collector, sender)
    sender.append()
    next_of(collector, sender, "report")
    for rubbish in (b"", b"{}", b"[]", b'{"now":1,"epochs":{"x":[[1,2]]}}', b'{"now":1,"epochs":{"1":[["a",2]]}}'):
        collector.say("sp/v1/down/d1/receipt", rubbish)
    answer(collector, sender.outbox.epoch, (1, 1))
    sender.work_until(lambda: sender.held() == 0, "the real one counts")


def test_it_sleeps_when_there_is_nothing_to_do(sender: Sender, collector: Client) -> None:
    hello(collector, sender)
    sender.append()
    sender.work_until(lambda: sender.link.window._sent, "it is on its way")
    assert sender.link.due() > time.monotonic() + 1  # one message is out; nothing else to do until it goes again


def test_nothing_is_published_until_the_centre_has_said_the_time_and_the_hello_is_repeated(
    sender: Sender, collector: Client
) -> None:
    sender.append()
    said = [next_of(collector, sender, "presence") for _ in range(2)]
    assert all(b"online" in each for each in said) and collector.heard.empty()
    answer(collector, sender.outbox.epoch)
    assert seqs(next_of(collector, sender, "report")) == [1]


@pytest.mark.parametrize("year", [1970, 2039])
def test_reports_of_a_dead_clock_go_out_with_their_right_times(
    tmp_path: Path, broker: Mosquitto, collector: Client, year: int
) -> None:
    sender = Sender(tmp_path / "outbox", broker.port)
    wrong = (year - 1970) * 31_557_600
    clock = sender.link.wallclock = WallClock(lambda: wrong + time.monotonic() % 1000)
    before = time.time() * 1000
    for late in (100, 50):  # read so many seconds ago, at most a minute of it on disk
        sender.outbox.append(clock.now() - late * 1000, clock.uptime() - late, {"cpu": {"usage_active": 1.0}})
        sender.outbox.spill()
    sender.outbox.append(clock.now(), clock.uptime(), {"cpu": {"usage_active": 1.0}})
    hello(collector, sender)
    found = {}
    while len(found) < 3:
        found.update((r.seq, r.t) for r in wire.decode(next_of(collector, sender, "report")).reports)
    for seq, late in ((1, 100), (2, 50), (3, 0)):
        assert abs(found[seq] - (before - late * 1000)) < 3000
    assert abs(clock.now() - time.time() * 1000) < 3000  # and so will the next ones
    sender.link.close(0)
    sender.outbox.close()
    again = Outbox(tmp_path / "outbox", tmp_path / "live")
    assert [len(seqs) for seqs in again.held().values()] == [3]
    again.close()


def test_a_clock_that_is_nearly_right_is_left_alone(sender: Sender, collector: Client) -> None:
    sender.link.wallclock = WallClock(lambda: time.time() - 5)
    t = sender.link.wallclock.now()
    sender.outbox.append(t, sender.link.wallclock.uptime(), {"cpu": {"usage_active": 1.0}})
    hello(collector, sender)
    assert wire.decode(next_of(collector, sender, "report")).reports[0].t == t
    assert abs(sender.link.wallclock.offset_ms - 5_000) < 2000


def test_a_port_that_accepts_and_says_nothing_costs_no_cpu(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        sender = Sender(tmp_path / "outbox", mute.getsockname()[1])
        sender.append()
        sender.link.work()
        assert sender.link.socket() is not None and sender.link.due() > time.monotonic() + 5
        sender.outbox.close()


def test_a_backlog_that_can_not_be_read_does_not_hold_up_the_others(
    tmp_path: Path, broker: Mosquitto, collector: Client
) -> None:
    first = Sender(tmp_path / "outbox", broker.port)
    first.append(3)
    first.outbox.close()
    second = Sender(tmp_path / "outbox", broker.port)
    second.append(2)
    next((tmp_path / "outbox").glob("*.seg")).unlink()  # after it was opened
    found = seqs(next_of(collector, second, "report")) + seqs(next_of(collector, second, "report"))
    assert sorted(found) == [1, 2]
    second.link.close(0)
    second.outbox.close()


# What the centre is told beside reports, and what it wants

STOCK = inventory_of({"cpu": {"model": "Intel Core i3-10100", "cores": 4}, "memory": {"total": 8589934592}})
ABOUT = About("0.2.0", "0123456789abcdef", "")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inventory goes out a quarter of a second after its hello, not after up to five minutes."""
    monkeypatch.setattr(link, "INVENTORY_FIRST", (0.25, 0.25))
    monkeypatch.setattr(link, "INVENTORY_LATER", (0.25, 0.25))


def confirm(collector: Client, hash: str) -> None:
    collector.say("sp/v1/down/d1/receipt", wire.encode_receipt(wire.Receipt(int(time.time() * 1000), {}, None, hash)))


def test_a_hello_says_what_runs_here_and_a_change_of_it_is_said_at_once(sender: Sender, collector: Client) -> None:
    assert wire.decode_presence(hello(collector, sender)).agent == ""
    sender.link.tell(ABOUT, STOCK, 30.0)
    said = wire.decode_presence(next_of(collector, sender, "presence"))
    assert (said.agent, said.config, said.inventory, said.interval) == ("0.2.0", ABOUT.config, STOCK.hash, 30.0)
    sender.link.tell(ABOUT, STOCK, 30.0)  # nothing new
    for _ in range(10):
        sender.link.work()
        time.sleep(0.02)
    assert collector.heard.empty()


@pytest.mark.usefixtures("soon")
def test_an_inventory_goes_out_until_a_receipt_names_it(sender: Sender, collector: Client) -> None:
    sender.link.tell(ABOUT, STOCK, 1.0)
    hello(collector, sender)
    for _ in range(2):
        assert decode_inventory(next_of(collector, sender, "inventory")) == STOCK
        confirm(collector, "f" * 16)  # another one
    confirm(collector, STOCK.hash)
    sender.work_until(lambda: sender.link._inventory_at == inf, "it is known")


@pytest.mark.usefixtures("soon")
def test_an_inventory_that_the_centre_knows_is_not_sent(sender: Sender, collector: Client) -> None:
    sender.link.tell(ABOUT, STOCK, 1.0)
    hello(collector, sender)
    confirm(collector, STOCK.hash)
    end = time.monotonic() + 1
    sender.work_until(lambda: time.monotonic() > end, "a second")
    assert not any(topic.endswith("/inventory") for topic, _ in list(collector.heard.queue))


def test_the_centres_configuration_is_handed_over_and_nonsense_is_not(
    sender: Sender, collector: Client, caplog: pytest.LogCaptureFixture
) -> None:
    hello(collector, sender)
    collector.say("sp/v1/down/d1/config", b'{"v":1,"version":"x","settings":{}}')
    sender.work_until(lambda: "unreadable" in caplog.text, "nonsense is logged")
    assert sender.link.wanted is None
    wanted = remote.Config("0123456789abcdef", {"reports": {"interval": 30}})
    collector.say("sp/v1/down/d1/config", remote.encode(wanted))
    sender.work_until(lambda: sender.link.wanted == wanted, "it is there")


def test_a_duty_holds_as_long_as_receipts_for_reports_name_it(sender: Sender, collector: Client) -> None:
    def receipt(*duties: str) -> None:
        told = wire.Receipt(int(time.time() * 1000), {sender.outbox.epoch: Ranges([(1, 1)])}, duties=duties)
        collector.say("sp/v1/down/d1/receipt", wire.encode_receipt(told))

    hello(collector, sender)
    receipt("internet")
    sender.work_until(lambda: sender.link.duties == {"internet"}, "it has the duty")
    confirm(collector, STOCK.hash)  # says nothing of duties
    receipt("internet")
    receipt()
    sender.work_until(lambda: sender.link.duties == frozenset(), "it has it no more")
