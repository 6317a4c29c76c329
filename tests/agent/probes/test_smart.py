"""The answers of the SMART helper are sent once, while they are fresh; no damage to its file stops the agent."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import probe
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import smart
from schoolpulse_agent.probes.smart import Probe

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "smart.json"
    monkeypatch.setattr(smart, "FILE", str(path))
    return path


def content(hours: float = 1.0) -> str:
    return json.dumps({"read": 1, "disks": [{"device": "sda", "serial": "X1", "fields": {"power_on_hours": hours}}]})


def test_without_a_file_there_is_nothing_to_say(file: Path) -> None:
    assert list(Probe().read()) == []


def test_each_answer_is_sent_once(file: Path) -> None:
    one = Probe()
    file.write_text(content(1.0))
    assert [each.fields for each in one.read()] == [{"power_on_hours": 1.0}]
    assert list(one.read()) == []
    new = file.with_name("new")
    new.write_text(content(7.0))
    new.replace(file)
    assert [each.fields for each in one.read()] == [{"power_on_hours": 7.0}]
    assert list(one.read()) == []


def test_what_is_older_than_two_days_says_nothing_of_the_disk_any_more(file: Path) -> None:
    file.write_text(content())
    old = time.time() - 2 * 86_400 - 60
    os.utime(file, (old, old))
    assert list(Probe().read()) == []
    os.utime(file, (old + 120, old + 120))
    assert len(list(Probe().read())) == 1


def test_a_file_written_half_is_reported_and_read_once_it_is_whole(file: Path) -> None:
    clock = [0.0]
    cycle = Cycle({"smart": Probe()}, clock=lambda: clock[0])
    file.write_text(content()[:40])
    assert cycle.read()["probe,probe=smart"]["up"] == 0.0
    file.write_text(content())
    clock[0] += 601.0
    groups = cycle.read()
    assert groups["smart_device,name=sda,serial_no=X1"] == {"power_on_hours": 1.0}
    assert groups["probe,probe=smart"]["up"] == 1.0


def test_the_error_of_a_damaged_file_holds_nothing_of_it(file: Path) -> None:
    file.write_text("Nguyen Van An")
    with pytest.raises(ValueError, match="damaged") as failed:
        list(Probe().read())
    assert "Nguyen" not in str(failed.value)


def test_what_is_no_file_is_left_alone(file: Path) -> None:
    os.mkfifo(file)  # opening it would wait for ever
    assert list(Probe().read()) == []


def test_fields_that_are_not_promised_are_left_out(file: Path) -> None:
    fields = {"temp_c": 30.0, "owner": 1.0, "health_ok": True, "power_on_hours": "9", "media_errors": float("inf")}
    disks: list[Any] = [{"device": "sda", "serial": 5, "fields": fields}, {"device": ""}, 7, {"device": "sdb"}]
    file.write_text(json.dumps({"disks": disks}))
    assert list(Probe().read()) == [Reading("smart_device", {"name": "sda"}, {"temp_c": 30.0})]


@given(ANYTHING)
def test_whatever_a_disk_is_said_to_be_only_promised_numbers_come_out(disk: Any) -> None:
    for each in smart.parse(json.dumps({"disks": [disk, {"device": "a", "fields": disk}]}).encode()):
        assert probe.listed("smart", each)
        assert all(type(value) is float and isfinite(value) for value in each.fields.values())


@given(st.binary(max_size=100) | ANYTHING.map(lambda tree: json.dumps(tree).encode()))
def test_any_bytes_are_a_file_of_the_helper_or_a_value_error(content: bytes) -> None:
    with suppress(ValueError):
        smart.parse(content)


def test_a_file_nested_without_end_is_damaged() -> None:
    with pytest.raises(ValueError, match="damaged"):
        smart.parse(b'{"a":' * 10_000)
