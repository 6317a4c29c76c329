"""`schoolpulse init`: a second one changes nothing, and one that was interrupted can be done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_api.__main__ import main
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import Registry, grants, people


def init(home: Path, name: str = "centre.test") -> int:
    said = ["--organisation", "Sở GDĐT", "--name", name, "--listen", "127.0.0.1", "--school", "Lạc Hồng"]
    return main(["--home", str(home), "init", *said])


def modes(home: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")]}


def test_an_init_that_was_interrupted_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise OSError("No space left on device")

        broken.setattr(Authority, "create", full)
        assert init(home) == 1
    assert init(home) == 0
    text = capsys.readouterr().out
    assert "/sign-in?token=" in text and "schoolpulse-agent enroll" in text
    registry = Registry(f"sqlite:///{home}/registry.sqlite")
    with registry.read() as session:
        everybody = people.everybody(session)
        assert [person.login for person in everybody] == ["admin"]
        assert len(grants.of_person(session, everybody[0].id)) == 1
    registry.close()


def test_a_second_init_changes_nothing_and_nobody_else_reads_what_is_secret(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert init(home) == 0
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert init(home, "other.test") == 2
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    found = modes(home)
    assert found["home"] == found["tls"] == 0o700
    for name in ("ca.key", "server.key", "collector.key", "registry.sqlite"):
        assert found[name] == 0o600, name
