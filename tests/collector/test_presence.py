"""Who is there: what each word, and each silence, makes of a device."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from schoolpulse_agent.wire import Presence as Said
from schoolpulse_collector.presence import Presence, State

T = 1_795_449_600.0


class World:
    """A presence with clocks that only move when told, and what its listener heard."""

    def __init__(self) -> None:
        self.now, self.mono = T, 500.0
        self.presence = Presence(lambda: self.now, lambda: self.mono)
        self.heard: list[tuple[str, str]] = []
        self.presence.listeners.append(lambda device, state: self.heard.append((device, state.state)))

    def wait(self, seconds: float) -> World:
        self.now += seconds
        self.mono += seconds
        self.presence.tick()
        return self

    def says(self, state: str, session: str = "s1", interval: float = 60.0) -> World:
        self.presence.said("d", Said(state, session, interval=interval))
        return self

    def reports(self, age: float = 0.0) -> World:
        self.presence.reported("d", int((self.now - age) * 1000))
        return self

    @property
    def state(self) -> str:
        return self.presence.of("d").state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (lambda w: w, "unknown"),
        (lambda w: w.says("online"), "online"),
        (lambda w: w.reports(), "online"),
        (lambda w: w.says("online").says("offline"), "offline"),
        (lambda w: w.says("online").says("bye"), "off"),
        (lambda w: w.says("online", "old").says("online", "new").says("offline", "old"), "online"),
        (lambda w: w.says("online", "old").says("online", "new").says("bye", "old"), "online"),
        (lambda w: w.says("online", "old").says("online", "new").says("offline", "new"), "offline"),
        (lambda w: w.says("offline"), "offline"),  # after a start of ours: its session began before
        (lambda w: w.says("bye"), "off"),
        (lambda w: w.reports().says("offline"), "offline"),
        (lambda w: w.reports().says("bye"), "off"),
        (lambda w: w.says("online").says("bye").says("offline"), "off"),  # its own will after its goodbye
        (lambda w: w.says("online").says("bye").says("online", "s2"), "online"),
        (lambda w: w.says("online").says("offline").says("online", "s2"), "online"),
        (lambda w: w.says("online").says("offline").wait(1).reports(), "online"),
    ],
)
def test_words_make_states(events: Callable[[World], World], state: str) -> None:
    assert events(World()).state == state


def test_the_will_of_an_older_session_is_ignored_however_late_it_comes() -> None:
    world = World().says("online", "old").says("online", "new").wait(59).reports().wait(59)
    assert world.says("offline", "old").state == "online"


@pytest.mark.parametrize(("age", "state"), [(0, "online"), (4, "online"), (5, "off"), (6, "off"), (120, "off")])
def test_a_report_measured_before_the_goodbye_does_not_revive(age: float, state: str) -> None:
    world = World().says("online").says("bye").wait(5)
    assert world.reports(age=age).state == state


@pytest.mark.parametrize(
    ("age", "interval", "state"),
    [(180, 60, "online"), (181, 60, "unknown"), (86_400, 60, "unknown"), (31, 10, "unknown"), (900, 300, "online")],
)
def test_data_later_than_three_intervals_says_nothing(age: float, interval: float, state: str) -> None:
    world = World()
    world.presence._states["d"] = State(interval=interval)
    assert world.reports(age=age).state == state


def test_a_report_from_the_far_future_says_nothing() -> None:
    assert World().reports(age=-3600).state == "unknown"


def test_late_data_does_not_keep_a_silent_device_online() -> None:
    world = World().says("online").wait(100).reports(age=3600)
    assert world.state == "online"
    assert world.wait(60).state == "offline"


@pytest.mark.parametrize(
    ("interval", "silence", "state"), [(60, 149, "online"), (60, 151, "offline"), (10, 26, "offline")]
)
def test_two_and_a_half_intervals_of_silence_are_offline(interval: float, silence: float, state: str) -> None:
    assert World().says("online", interval=interval).wait(silence).state == state


@pytest.mark.parametrize("word", [lambda w: w.reports(), lambda w: w.says("online")])
def test_each_word_starts_the_silence_timer_anew(word: Callable[[World], World]) -> None:
    world = World().says("online")
    for _ in range(5):
        assert word(world.wait(140)).state == "online"
    assert world.wait(151).state == "offline"


def test_silence_is_measured_by_the_steady_clock_when_the_wall_clock_jumps() -> None:
    world = World().says("online")
    world.now += 86_400
    assert world.wait(10).state == "online"


def test_a_device_that_said_goodbye_stays_off_in_silence() -> None:
    assert World().says("online").says("bye").wait(86_400).state == "off"


@pytest.mark.parametrize(("silence", "state"), [(149, "unknown"), (151, "offline")])
def test_an_expected_device_that_is_never_heard_becomes_offline(silence: float, state: str) -> None:
    world = World()
    world.presence.expect(["d"])
    assert world.state == "unknown"
    assert world.wait(silence).state == state


def test_to_expect_a_device_that_is_there_changes_nothing() -> None:
    world = World().says("online").wait(100)
    world.presence.expect(["d"])
    assert world.state == "online"
    assert world.wait(51).state == "offline"


def test_after_the_collector_was_deaf_all_timers_start_anew() -> None:
    world = World().says("online")
    world.mono += 3600
    world.presence.start_timers_anew()
    assert world.wait(149).state == "online"
    assert world.wait(2).state == "offline"


def test_starting_timers_anew_brings_nobody_back() -> None:
    world = World().says("online").says("offline")
    world.presence.start_timers_anew()
    assert world.wait(10).state == "offline"


def test_listeners_are_called_once_for_a_change() -> None:
    world = World().says("online").reports().reports().says("online", "s2").wait(100).reports()
    assert world.heard == [("d", "online")]
    world.wait(200).wait(200).wait(200)
    assert world.heard == [("d", "online"), ("d", "offline")]
    world.reports().says("bye", "s2").says("bye", "s2")
    assert world.heard[2:] == [("d", "online"), ("d", "off")]


def test_a_state_tells_since_when_and_when_the_device_was_last_heard() -> None:
    world = World().says("online").wait(60).reports()
    state = world.presence.of("d")
    assert (state.since, state.seen) == (int(T * 1000), int(T * 1000) + 60_000)
    world.wait(151)
    state = world.presence.of("d")
    assert (state.since, state.seen) == (int(T * 1000) + 211_000, int(T * 1000) + 60_000)


def test_a_listener_sees_the_state_that_of_tells() -> None:
    world = World()
    seen: list[State] = []
    world.presence.listeners.append(
        lambda device, state: seen.append(state if state == world.presence.of(device) else State())
    )
    world.says("online").says("offline")
    assert [state.state for state in seen] == ["online", "offline"]


def test_devices_are_counted_by_state() -> None:
    world = World()
    for device, state in (("a", "online"), ("b", "online"), ("c", "bye"), ("d", "offline")):
        world.presence.said(device, Said(state, "s"))
    world.presence.expect(["e"])
    assert world.presence.count() == {"online": 2, "off": 1, "offline": 1, "unknown": 1}


def test_a_hello_that_comes_while_silence_is_being_judged_wins() -> None:
    """The clock's thread judges, the intake's thread hears: the device must not be left offline by an old judgement."""
    now, hello = [0.0], threading.Event()

    def clock() -> float:
        if threading.current_thread() is threading.main_thread() and now[0] > 0:
            hello.set()
            listening.join(0.3)  # a tick that holds the lock lets the hello in afterwards
        return T

    presence = Presence(clock, lambda: now[0])
    presence.said("d", Said("online", "s1"))
    now[0] = 151.0

    def say() -> None:
        hello.wait(5)
        presence.said("d", Said("online", "s2"))

    listening = threading.Thread(target=say)
    listening.start()
    presence.tick()
    listening.join()
    assert (presence.of("d").state, presence.of("d").session) == ("online", "s2")
