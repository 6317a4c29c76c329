"""Imports run one way, and the wire contract stands on the standard library alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

SOURCES = [path for part in ("agent", "collector", "dashboards", "api") for path in (ROOT / part).rglob("*.py")]


def test_the_import_contracts_of_the_workspace_hold() -> None:
    ended = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_the_wire_contract_imports_only_the_standard_library() -> None:
    for name in ("wire", "ranges"):
        tree = ast.parse((ROOT / f"agent/schoolpulse_agent/{name}.py").read_text())
        roots = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        roots |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        foreign = {root for root in roots if root.split(".")[0] not in sys.stdlib_module_names}
        assert foreign <= {"schoolpulse_agent.ranges"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_in_a_docstring_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
