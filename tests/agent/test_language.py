"""Errors speak both languages, in the one that the person at the machine reads."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest
from running import ROOT

from schoolpulse_agent import language
from schoolpulse_agent.language import Told

SOURCES = sorted((ROOT / "agent/schoolpulse_agent").rglob("*.py"))
ERRORS = {"SettingsError", "EnrolFailed", "Told"}


@pytest.mark.parametrize(
    ("environment", "spoken"),
    [
        ({}, "vi"),
        ({"LANG": "C.UTF-8"}, "vi"),
        ({"LANG": "POSIX"}, "vi"),
        ({"LANG": "vi_VN.UTF-8"}, "vi"),
        ({"LANG": "fr_FR.UTF-8"}, "vi"),
        ({"LANG": "enx_XX"}, "vi"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "en"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "en_GB", "LANG": "vi_VN"}, "en"),
        ({"LC_ALL": "vi_VN", "LC_MESSAGES": "en_GB", "LANG": "en_US"}, "vi"),
        ({"SCHOOLPULSE_LANG": "vi", "LC_ALL": "en_US"}, "vi"),
        ({"SCHOOLPULSE_LANG": "en", "LC_ALL": "vi_VN"}, "en"),
    ],
)
def test_english_is_spoken_only_where_the_system_does(environment: dict[str, str], spoken: str) -> None:
    assert language.of_this_person(environment) == spoken


@pytest.mark.parametrize(("langid", "spoken"), [(0x0409, "en"), (0x0809, "en"), (0x042A, "vi"), (0x0411, "vi")])
def test_on_windows_the_language_of_its_screens_counts(
    monkeypatch: pytest.MonkeyPatch, langid: int, spoken: str
) -> None:
    import ctypes

    class Windows:
        class kernel32:  # noqa: N801 - its name there
            GetUserDefaultUILanguage = staticmethod(lambda: langid)

    monkeypatch.setattr(ctypes, "windll", Windows, raising=False)
    monkeypatch.setattr(language.os, "name", "nt")
    said = language.of_this_person({})
    monkeypatch.undo()
    assert said == spoken


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOBUFS])
def test_what_the_system_refuses_is_said_in_both_languages_with_the_file(number: int) -> None:
    told = language.of_file(OSError(number, os.strerror(number), "/x/y"))
    assert str(told).startswith(f"/x/y: {os.strerror(number)}")
    assert told.vi.startswith("/x/y: ") and not told.vi.isascii()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_error_for_people_is_raised_with_its_vietnamese(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ERRORS:
            starred = any(isinstance(argument, ast.Starred) for argument in node.args)  # both of a pair
            assert starred or len(node.args) >= 2, f"{path.name}:{node.lineno}"


def test_an_error_says_what_the_language_asks_for() -> None:
    assert (Told("a", "b").said("en"), Told("a", "b").said("vi"), str(Told("a", "b"))) == ("a", "b", "a")
