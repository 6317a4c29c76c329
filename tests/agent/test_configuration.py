"""A configuration is tried, and what stops the reports is given up by itself, across restarts too."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_agent import configuration, settings
from schoolpulse_agent.configuration import FILE, STARTS, TRIAL, Configuration
from schoolpulse_agent.remote import Config
from schoolpulse_agent.settings import Settings

FAST, SLOW = Config("a" * 16, {"reports": {"interval": 30}}), Config("b" * 16, {"reports": {"interval": 600}})
BAD = Config("c" * 16, {"broker": {"url": "mqtts://elsewhere"}})

NO_SETTINGS = b'{"good": {"version": "", "settings": null}, "trial": null, "starts": 0, "refused": ""}'


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return settings.parse({"reports": {"folder": str(tmp_path / "reports")}}, "test")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def held(made: Configuration) -> tuple[str, float]:
    return made.version, made.settings.reports.interval


def test_without_a_word_from_the_centre_the_machines_own_settings_hold(own: Settings) -> None:
    made = Configuration(own)
    assert held(made) == ("", 60) and made.settings is own and not made.work(True)


def test_a_configuration_that_reports_arrive_under_is_kept_across_starts(own: Settings, clock: Clock) -> None:
    made = Configuration(own, clock)
    assert made.take(FAST) and held(made) == (FAST.version, 30)
    made.confirmed()
    clock.now = 10 * TRIAL
    assert not made.work(True)
    for _ in range(5):
        made = Configuration(own, clock)
        assert held(made) == (FAST.version, 30) and not made.is_on_trial


def test_one_under_which_no_report_arrives_is_given_up_for_the_last_good_one(own: Settings, clock: Clock) -> None:
    made = Configuration(own, clock)
    made.take(FAST)
    made.confirmed()
    made.take(SLOW)
    clock.now = 1799
    assert not made.work(True)  # three of its intervals are 30 minutes
    clock.now = 1801
    assert made.work(True)
    assert held(made) == (FAST.version, 30)
    assert made.refused.startswith(f"{SLOW.version} ")
    assert not made.take(SLOW)  # it is not tried again ...
    again = Configuration(own, clock)
    assert held(again) == (FAST.version, 30) and not again.take(SLOW)  # ... by no start
    assert again.take(BAD) is False and again.take(SLOW)  # until the centre wanted another meanwhile


def test_time_without_a_connection_is_no_trial(own: Settings, clock: Clock) -> None:
    made = Configuration(own, clock)
    made.take(FAST)
    for clock.now in range(0, 10_000, 100):
        assert not made.work(False)
    for clock.now in range(10_000, 10_200, 100):
        assert not made.work(True)
    clock.now = 10_200
    assert made.work(True)


def test_an_agent_that_reports_less_often_to_spare_its_machine_gives_a_configuration_as_many_reports(
    own: Settings, clock: Clock
) -> None:
    made = Configuration(own, clock)
    made.take(FAST)
    clock.now = 899
    assert not made.work(True, 10.0)
    clock.now = 901
    assert made.work(True, 10.0)


def test_a_refusal_is_forgotten_once_the_centre_wants_what_is_in_force(own: Settings) -> None:
    made = Configuration(own)
    made.take(BAD)
    assert not made.take(Config("", {})) and made.refused == ""
    assert Configuration(own).refused == ""


def test_a_machine_that_is_switched_off_again_and_again_during_a_trial_goes_on_with_it(own: Settings) -> None:
    Configuration(own).take(FAST)
    for _ in range(3 * STARTS):
        made = Configuration(own)
        assert held(made) == (FAST.version, 30) and made.is_on_trial
        made.ended()


def test_a_number_past_all_bounds_is_refused_as_anything_else(own: Settings) -> None:
    made = Configuration(own)
    assert not made.take(Config("e" * 16, {"reports": {"interval": 10**400}}))
    assert made.refused.endswith("reports.interval: this number is too large") and held(made) == ("", 60)


def test_one_that_may_not_be_is_refused_and_changes_nothing(own: Settings) -> None:
    made = Configuration(own)
    assert not made.take(BAD)
    assert held(made) == ("", 60)
    assert made.refused.startswith(f"{BAD.version} ") and "broker" in made.refused and made.refused.isprintable()
    assert made.take(FAST) and made.refused == ""


def test_an_error_during_the_trial_ends_it_and_one_later_does_not(own: Settings) -> None:
    made = Configuration(own)
    made.take(FAST)
    made.fail("ValueError: no")
    assert held(made) == ("", 60) and "ValueError" in made.refused
    made.take(SLOW)
    made.confirmed()
    made.fail("ValueError: no")
    assert held(made) == (SLOW.version, 600)


def test_an_agent_that_ends_again_and_again_during_a_trial_gives_it_up(own: Settings) -> None:
    Configuration(own).take(FAST)
    starts = [held(Configuration(own)) for _ in range(STARTS)]
    assert starts == [(FAST.version, 30)] * (STARTS - 1) + [("", 60)]
    assert Configuration(own).refused.startswith(FAST.version)


def test_the_centre_may_take_its_configuration_back(own: Settings) -> None:
    made = Configuration(own)
    made.take(FAST)
    made.confirmed()
    assert made.take(Config("", {})) and held(made) == ("", 60)
    made.confirmed()
    assert held(Configuration(own)) == ("", 60)
    assert not made.take(Config("", {}))


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"{}", b"[]", b'{"good": 7}', b'{"good": {"version": 1}}', NO_SETTINGS]
)
def test_a_damaged_file_costs_the_configuration_and_no_more(own: Settings, content: bytes) -> None:
    Path(own.reports.folder).mkdir()
    (Path(own.reports.folder) / FILE).write_bytes(content)
    made = Configuration(own)
    assert held(made) == ("", 60)
    assert configuration.in_force(own) is own
    assert made.take(FAST)


def test_a_disk_that_takes_nothing_lets_a_configuration_hold_all_the_same(
    own: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(own.reports.folder)
    folder.write_text("a file where the folder ought to be")
    made = Configuration(own)
    assert made.take(FAST) and held(made) == (FAST.version, 30)
    assert "can't be written" in caplog.text


def test_what_is_in_force_is_known_to_who_only_looks(own: Settings) -> None:
    made = Configuration(own)
    made.take(FAST)
    before = (Path(own.reports.folder) / FILE).stat().st_mtime_ns
    assert configuration.in_force(own).reports.interval == 30
    assert (Path(own.reports.folder) / FILE).stat().st_mtime_ns == before
    made.fail("no")
    assert configuration.in_force(own).reports.interval == 60


def test_a_machine_whose_own_file_has_changed_judges_the_last_good_one_anew(tmp_path: Path, own: Settings) -> None:
    made = Configuration(own)
    made.take(Config("d" * 16, {"limits": {"cpu_percent": 2}}))
    made.confirmed()
    strict = settings.parse({"reports": {"folder": own.reports.folder, "interval": 20}}, "test")
    assert held(Configuration(strict)) == ("d" * 16, 20)
