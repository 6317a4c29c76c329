"""Each wheel, installed alone in an empty environment, brings all that its modules import."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT

UV = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if ".migrations" not in module.name:
        importlib.import_module(module.name)
"""


def uv(*arguments: str | Path) -> str:
    ended = subprocess.run([UV, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four wheels, and the locked versions of all else."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--all-packages", "--wheel", "--out-dir", folder, "--quiet")
    locked = uv("export", "--frozen", "--no-hashes", "--no-emit-workspace", "--quiet", "--all-packages")
    (folder / "locked.txt").write_text(locked)
    return folder


def install(built: Path, folder: Path, part: str) -> Path:
    uv("venv", "--quiet", folder)
    python = folder / "bin/python"
    wheels = ("--no-sources", "--find-links", built, "--constraints", built / "locked.txt")
    uv("pip", "install", "--quiet", "--python", python, *wheels, f"schoolpulse-{part}")
    return python


@pytest.mark.parametrize("part", ["agent", "collector", "dashboards", "api"])
def test_every_module_of_a_wheel_imports_where_nothing_else_is(built: Path, tmp_path: Path, part: str) -> None:
    python = install(built, tmp_path / "env", part)
    # -I: neither this folder nor the environment's variables may help.
    command = [python, "-I", "-c", IMPORT_ALL, f"schoolpulse_{part}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert ended.returncode == 0, ended.stderr


def test_the_agent_brings_psutil_and_paho_and_nothing_else(built: Path, tmp_path: Path) -> None:
    python = install(built, tmp_path / "env", "agent")
    names = {line.split("==")[0] for line in uv("pip", "freeze", "--quiet", "--python", python).splitlines()}
    names = {name.split(" @")[0] for name in names}
    assert names == {"paho-mqtt", "psutil", "schoolpulse-agent"}
