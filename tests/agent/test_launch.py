"""Which version starts: the one on trial while it has tries, the last good one, else the installed; none changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packages import Maker

from schoolpulse_agent import __version__, launch, versions
from schoolpulse_agent.versions import STARTS, State

MAIN = """
from schoolpulse_agent import launch
chosen = launch.choose()
import schoolpulse_agent.__main__
print(chosen, schoolpulse_agent.__version__, schoolpulse_agent.__main__.__file__)
"""


class Disk:
    """A machine's settings and packages, and what starts with them."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        self.config, self.folder = folder / "agent.toml", folder / "reports" / versions.FOLDER
        self.settings(f'enabled = true\npublic_key = "{maker.public}"')
        for version in ("0.2.0", "0.3.0"):
            versions.keep(self.folder, *maker.make(version))

    def settings(self, update: str) -> None:
        self.config.write_text(f'[reports]\nfolder = "{self.folder.parent}"\n[update]\n{update}\n')

    def start(self, *command: str) -> str:
        """The version that runs; checks that all of it is from one place."""
        arguments = ["--config", str(self.config), *(command or ("run",))]
        done = subprocess.run([sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        words = done.stdout.split()
        chosen, version, path = words if len(words) == 3 else ["", *words]
        assert version == (chosen or __version__)
        assert path.startswith(str(self.folder / f"{chosen}.zip")) == bool(chosen)
        return chosen

    @property
    def state(self) -> State:
        return versions.load(self.folder)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "maker")


@pytest.fixture
def disk(tmp_path: Path, maker: Maker) -> Disk:
    return Disk(tmp_path, maker)


def test_the_installed_one_runs_unless_the_state_names_another(disk: Disk) -> None:
    assert disk.start() == "" and disk.said == ""
    versions.save(disk.folder, State(good="0.2.0"))
    assert disk.start() == "0.2.0"
    versions.save(disk.folder, State(good="0.2.0", trial="0.3.0", tried="0.3.0"))
    assert disk.start() == "0.3.0"


def test_a_version_on_trial_has_three_starts_and_only_run_counts(disk: Disk) -> None:
    versions.save(disk.folder, State(good="0.2.0", trial="0.3.0", tried="0.3.0"))
    assert [disk.start("check"), disk.start("data")] == ["0.3.0", "0.3.0"] and disk.state.starts == 0
    assert [disk.start() for _ in range(STARTS)] == ["0.3.0"] * STARTS
    assert disk.start() == "0.2.0"
    assert disk.state == State(
        "0.2.0", tried="0.3.0", starts=STARTS, refused="0.3.0 it ended 3 times while it was tried"
    )


def test_a_changed_package_never_runs_and_the_one_before_does(disk: Disk) -> None:
    zipped = disk.folder / "0.3.0.zip"
    zipped.write_bytes(zipped.read_bytes() + b"\0")
    versions.save(disk.folder, State(good="0.2.0", trial="0.3.0"))
    assert disk.start() == "0.2.0" and "not the one that was signed" in disk.state.refused
    versions.save(disk.folder, State(good="0.3.0", previous="0.2.0"))
    assert disk.start() == "0.2.0" and "version 0.3.0 does not run" in disk.said
    (disk.folder / "0.2.0.sig").write_text("{}")
    assert disk.start() == ""


def test_why_a_version_does_not_run_names_no_folder_of_this_machine(disk: Disk) -> None:
    (disk.folder / "0.3.0.zip").unlink()
    versions.save(disk.folder, State(good="0.2.0", trial="0.3.0"))
    assert disk.start() == "0.2.0"
    assert disk.state.refused == "0.3.0 0.3.0.zip can't be read: No such file or directory"


def test_with_another_key_or_none_or_updates_off_the_installed_one_runs(disk: Disk, tmp_path: Path) -> None:
    versions.save(disk.folder, State(good="0.2.0"))
    disk.settings(f'enabled = true\npublic_key = "{Maker(tmp_path / "other").public}"')
    assert disk.start() == "" and "is not signed" in disk.said
    for update in ("enabled = true", 'enabled = true\npublic_key = "short"', "enabled = false", "", "= no TOML"):
        disk.settings(update)
        assert disk.start() == ""


def test_what_is_not_newer_than_the_installed_one_gives_way_to_it(disk: Disk, maker: Maker) -> None:
    versions.keep(disk.folder, *maker.make(__version__))
    versions.keep(disk.folder, *maker.make("0.0.9"))
    versions.save(disk.folder, State(good=__version__, previous="0.0.9"))
    assert disk.start() == ""


def test_root_runs_no_package_of_the_agents_own_user(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.save(disk.folder, State(good="0.2.0"))
    arguments = ["--config", str(disk.config), "check"]
    assert launch._pick(arguments) == disk.folder / "0.2.0.zip"
    another = disk.folder.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: another)
    assert launch._pick(arguments) is None


def test_where_a_start_can_not_be_counted_nothing_is_tried(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    versions.save(disk.folder, State(good="0.2.0", trial="0.3.0"))
    monkeypatch.setattr(versions, "save", full)
    found = launch._pick(["--config", str(disk.config), "run"])
    assert found == disk.folder / "0.2.0.zip"
    assert "No space left on device" in capsys.readouterr().err


def test_nothing_about_updates_keeps_the_installed_one_from_starting(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "load", lambda _: 1 / 0)
    assert launch.choose([f"--config={disk.config}", "run"]) == ""
    assert "ZeroDivisionError" in capsys.readouterr().err
