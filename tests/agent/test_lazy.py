"""Modules that are hardly ever used are loaded at their first use, and work as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running import ROOT

from schoolpulse_agent.lazy import RARELY_USED

AGENT = "import sys; from schoolpulse_agent.lazy import RARELY_USED, load_later; load_later(); "


def said(code: str) -> str:
    command = [sys.executable, "-c", AGENT + code]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "agent")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_what_the_agent_imports_loads_none_of_them() -> None:
    code = "import schoolpulse_agent.agent; print([name for name in RARELY_USED if sys.modules[name].__spec__])"
    assert said(code) == "[]"


def test_what_is_only_needed_elsewhere_is_not_imported_at_all() -> None:
    code = "import schoolpulse_agent.agent; print([n for n in sys.modules if n in ('psutil', 'http.client', 'tomllib',"
    assert said(code + " 'difflib', 'datetime', 'subprocess', 'ctypes', 'tempfile', 'email.message')])") == "[]"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import urllib.request; print(urllib.request.Request('http://a/b').selector)", "/b"),
        ("import traceback; print(traceback.format_exception_only(ValueError('x')))", "['ValueError: x\\n']"),
        ("from inspect import signature; print(signature(lambda a: a))", "(a)"),
        ("import ipaddress; print(ipaddress.ip_address('::1'))", "::1"),
        ("import urllib.parse; print(urllib.parse.urlsplit('https://[::1]:8443').hostname)", "::1"),
        ("import uuid; print(uuid.UUID(int=1))", "00000000-0000-0000-0000-000000000001"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A.__doc__)", "A(x: int)"),
    ],
)
def test_each_works_when_it_is_used(code: str, expected: str) -> None:
    assert said(code) == expected


def test_a_module_that_is_there_already_stays_as_it_is() -> None:
    code = "import json; before = sys.modules['json']; load_later(('json',)); print(before is sys.modules['json'])"
    assert said(code) == "True"


def test_there_is_such_a_module_for_each_name() -> None:
    assert all(said(f"import importlib; importlib.import_module({name!r})") == "" for name in RARELY_USED)


@pytest.mark.parametrize("line", [["run"], ["--config", "no.toml", "run"]])
def test_the_line_of_a_service_is_read_without_a_parser(line: list[str]) -> None:
    code = f"from schoolpulse_agent import __main__ as m; args = m._as_a_service({line}); "
    code += "print(args.command is m.run, args.config, sys.modules['argparse'].__spec__)"
    assert said(code) == f"True {'no.toml' if len(line) == 3 else None} None"


@pytest.mark.parametrize("line", [[], ["check"], ["run", "--help"], ["--lang", "vi", "run"], ["--config", "run"]])
def test_every_other_line_is_the_parsers(line: list[str]) -> None:
    assert said(f"from schoolpulse_agent.__main__ import _as_a_service; print(_as_a_service({line}))") == "None"
