"""``schoolpulse person`` and ``schoolpulse token``, as typed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from schoolpulse_api.commands import person, token
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.registry import Refused, Registry, people, tokens
from schoolpulse_collector.registry.model import School

Typed = Callable[..., list[str]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path)
    registry = Registry(found.registry_url)
    registry.put(School(key="s1", name="Tiểu học Đống Đa"))
    registry.close()
    return found


@pytest.fixture
def typed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Typed:
    def run(*words: str) -> list[str]:
        command = {"person": person, "token": token}[words[0]]
        parser = argparse.ArgumentParser()
        command.arguments(parser)
        assert command.run(parser.parse_args(words[1:]), settings) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_a_person_is_added_listed_and_given_and_taken_roles(typed: Typed) -> None:
    typed("person", "add", "Lan", "--name", "Nguyễn Thị Lan", "--role", "technician", "--school", "s1")
    typed("person", "grant", "lan", "--role", "viewer")
    (row,) = typed("person", "list")[2:]
    for part in ("lan ", "Nguyễn Thị Lan", "link", "1: technician@school:s1, 2: viewer"):
        assert part in row
    typed("person", "withdraw", "1")
    typed("person", "deactivate", "lan")
    (row,) = typed("person", "list")[2:]
    assert row.endswith("2: viewer") and "deactivated" in row
    typed("person", "activate", "lan")
    typed("person", "reset-totp", "lan")
    assert "deactivated" not in typed("person", "list")[2]


def test_a_link_needs_a_centre_and_signs_that_person_in(typed: Typed, settings: Settings) -> None:
    typed("person", "add", "lan", "--name", "Lan", "--role", "viewer")
    with pytest.raises(SettingsError, match="--home"):
        typed("person", "link", "lan")
    (settings.home / "address").write_text("https://centre.example\n")
    (link,) = typed("person", "link", "lan", "--new-password")
    assert link.startswith("https://centre.example/sign-in?token=")
    registry = Registry(settings.registry_url)
    with registry.change("system") as change:
        spent = people.spend_link(change, link.partition("=")[2])
    registry.close()
    assert spent and spent.login == "lan"


@pytest.mark.parametrize(
    "words",
    [
        ("person", "link", "nobody"),
        ("person", "grant", "nobody", "--role", "viewer"),
        ("person", "add", "x y", "--name", "x", "--role", "viewer"),
        ("person", "add", "minh", "--name", "x", "--role", "viewer", "--unit", "nowhere"),
        ("person", "withdraw", "9"),
        ("token", "revoke", "9"),
        ("token", "issue", " ", "--role", "viewer"),
    ],
)
def test_what_can_not_be_done_is_refused_and_nothing_of_it_stays(
    typed: Typed, settings: Settings, words: list[str]
) -> None:
    (settings.home / "address").write_text("https://centre.example\n")
    with pytest.raises(Refused):
        typed(*words)
    assert len(typed("person", "list")) == len(typed("token", "list")) == 2


@pytest.mark.parametrize("more", [("--role", "king"), ("--role", "viewer", "--unit", "a", "--school", "b"), ()])
def test_a_wrong_command_line_says_what_is_wrong(typed: Typed, more: tuple[str, ...]) -> None:
    for words in (("person", "grant", "lan"), ("token", "issue", "x")):
        with pytest.raises(SystemExit) as ended:
            typed(*words, *more)
        assert ended.value.code == 2


def test_a_token_is_shown_once_listed_and_revoked(typed: Typed, settings: Settings) -> None:
    (text,) = typed("token", "issue", "Grafana\x1b[2J", "--role", "viewer", "--days", "30")
    (row,) = typed("token", "list")[2:]
    assert "Grafana[2J" in row and "until" in row and "1: viewer" in row and text not in row
    typed("token", "revoke", "1")
    assert "revoked" in typed("token", "list")[2]
    registry = Registry(settings.registry_url)
    with registry.read() as session:
        assert tokens.find(session, text) is None
    registry.close()
