"""What the papers say is so: paths exist, probes and commands are described, both languages are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from running import ROOT

from schoolpulse_agent import __main__ as agent_main
from schoolpulse_agent import probe
from schoolpulse_api import text
from schoolpulse_collector import delivery

PAPERS = [
    path
    for pattern in ("*.md", "agent/*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts and ".tools" not in path.parts
]
FOLDERS = [ROOT, *(ROOT / part / f"schoolpulse_{part}" for part in ("agent", "collector", "dashboards", "api"))]
ALL_METRICS = {**probe.metrics(), **delivery.METRICS}
MADE = (".venv", ".demo", "dist", ".tools", "/")  # what commands make, and absolute paths on other machines


def paths_in(paper: Path) -> set[str]:
    """Everything in backticks that looks like a path of this project, and the targets of links."""
    content = paper.read_text()
    quoted = re.findall(r"`([\w./-]+(?:\.(?:py|md|toml|txt|sh|lock|yaml|json)|/))`", content)
    linked = [target for target in re.findall(r"\]\(([^)#]+)", content) if "://" not in target]
    return {path for path in [*quoted, *linked] if not path.startswith(MADE)}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_paper_names_exists(paper: Path) -> None:
    missing = [name for name in paths_in(paper) if not any((base / name).exists() for base in [*FOLDERS, paper.parent])]
    assert missing == []


def test_the_papers_name_paths_at_all() -> None:
    assert len(paths_in(ROOT / "ARCHITECTURE.md")) > 20


@pytest.mark.parametrize("name", probe.names())
def test_every_probe_says_what_each_field_is_in_both_languages_and_a_unit(name: str) -> None:
    table = probe.metrics(name)
    assert table
    for key, metric in table.items():
        assert metric.unit and metric.en and metric.vi and metric.en != metric.vi, key
    assert probe.probe_class(name).__doc__


def test_the_page_of_metrics_is_what_the_probes_say() -> None:
    lines = (ROOT / "docs/metrics.md").read_text().splitlines()
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("| `")}
    said = {(f"`{m}`", f"`{f}`", metric.unit, metric.en, metric.vi) for (m, f), metric in ALL_METRICS.items()}
    assert rows == said, "write the difference into docs/metrics.md"


def test_every_command_and_setting_of_the_agent_is_described() -> None:
    readme = (ROOT / "agent/README.md").read_text()
    for command in ("enroll", "run", "once", "check", "data"):
        assert getattr(agent_main, command).__doc__
        assert re.search(rf"schoolpulse-agent.* {command}\b", readme)


@pytest.mark.parametrize("key", text.TEXTS)
def test_every_text_exists_in_both_languages(key: str) -> None:
    vietnamese, english = text.TEXTS[key]
    assert vietnamese.strip() and english.strip()


def test_no_paper_and_no_code_names_a_registry_host_or_a_path_of_one_machine() -> None:
    banned = re.compile("|".join(("pypi" + r"\.org", "deb" + r"\.debian\.org", "/" + "work/", "/" + "root/")))
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        if path.suffix in (".py", ".md", ".toml", ".sh", ".txt") and not inside[0].startswith("."):
            assert not banned.search(path.read_text()), path
