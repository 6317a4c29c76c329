"""Which reports go along when a machine's identity changes: those that it measured itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_agent import origin
from schoolpulse_agent.outbox import Outbox

HERE, THERE = "a" * 16, "b" * 16


def start(folder: Path, device: str, hardware: str) -> Outbox:
    """One start of an agent, as `agent.build` does it."""
    said = origin.sort_out(folder, device, hardware)
    outbox = Outbox(folder, folder / "live")
    origin.note(folder, said, outbox.held(), outbox.epoch)
    return outbox


def measure(folder: Path, device: str, hardware: str) -> int:
    """Start, keep a report, stop; return the epoch."""
    outbox = start(folder, device, hardware)
    outbox.append(1, 1.0, {"cpu": {"usage_active": 1.0}})
    outbox.close()
    return outbox.epoch


def held(folder: Path, device: str, hardware: str) -> set[int]:
    outbox = start(folder, device, hardware)
    found = set(outbox.held())
    outbox.close()
    return found


def aside(folder: Path) -> set[int]:
    return {int(path.stem.rpartition("-")[2]) for path in folder.glob("of-*/*.seg")}


def test_a_clone_takes_along_what_it_measured_itself_and_not_what_its_image_held(tmp_path: Path) -> None:
    original = measure(tmp_path, "d1", THERE)
    own = {measure(tmp_path, "d1", HERE), measure(tmp_path, "d1", HERE)}
    assert held(tmp_path, "d1", HERE) == {original, *own}  # still d1: all are d1's
    assert held(tmp_path, "d2", HERE) == own
    assert aside(tmp_path) == {original} and (tmp_path / "of-d1").is_dir()
    assert held(tmp_path, "d2", HERE) == own  # and it stays so


def test_an_identity_that_is_given_back_changes_nothing(tmp_path: Path) -> None:
    epochs = {measure(tmp_path, "d1", THERE), measure(tmp_path, "d1", HERE)}
    assert held(tmp_path, "d1", HERE) == epochs and not aside(tmp_path)


def test_a_machine_that_is_enrolled_anew_takes_all_its_reports_along(tmp_path: Path) -> None:
    epochs = {measure(tmp_path, "d1", HERE), measure(tmp_path, "d1", HERE)}
    assert held(tmp_path, "d2", HERE) == epochs and not aside(tmp_path)


def test_a_new_card_in_the_old_machine_costs_no_report(tmp_path: Path) -> None:
    epochs = {measure(tmp_path, "d1", HERE)}
    assert held(tmp_path, "d1", THERE) == epochs and not aside(tmp_path)


@pytest.mark.parametrize("hardware", ["", HERE])
def test_where_the_hardware_says_nothing_now_or_then_reports_stay(tmp_path: Path, hardware: str) -> None:
    epochs = {measure(tmp_path, "d1", hardware), measure(tmp_path, "d1", "")}
    assert held(tmp_path, "d2", hardware) == epochs


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"device": 7}', "[" * 100_000, '{"device":"../x","hardware":"","epochs":[]}']
)
def test_a_damaged_note_is_no_note(tmp_path: Path, text: str) -> None:
    epoch = measure(tmp_path, "d1", HERE)
    (tmp_path / origin.NAME).write_text(text)
    assert held(tmp_path, "d2", HERE) == {epoch}


def test_epochs_of_which_nothing_is_held_are_forgotten(tmp_path: Path) -> None:
    for _ in range(5):
        start(tmp_path, "d1", HERE).close()
    assert len(origin._read(tmp_path / origin.NAME).epochs) == 1
