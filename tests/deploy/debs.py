"""Builds the agent's package for tests and installs it in a private root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from privateroot import PrivateRoot
from running import ROOT


def build(version: str, folder: Path) -> Path:
    command = [sys.executable, ROOT / "deploy/debian/build.py", "--version", version, "--out", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"schoolpulse-agent_{version}_all.deb"


def install(root: PrivateRoot, deb: Path) -> str:
    (root.shared / deb.name).write_bytes(deb.read_bytes())
    return root.run("dpkg", "--install", f"/mnt/shared/{deb.name}")
