"""The packages of the agent that this centre hands out: signed elsewhere, in the folder ``packages`` of home."""

from __future__ import annotations

import json
from pathlib import Path

from schoolpulse_agent import package
from schoolpulse_agent.package import BadPackage, Manifest
from schoolpulse_agent.versions import put
from schoolpulse_collector.registry import Refused

FOLDER = "packages"


def find(home: Path, name: str) -> Path | None:
    """The package of this name, None if there is none or it is no package's name."""
    version = name.removeprefix("schoolpulse-agent-").removesuffix(".zip")
    try:
        package.number(version)
    except BadPackage:
        return None
    path = home / FOLDER / name
    return path if name == package.name(version) and path.is_file() else None


def require(home: Path, manifest: Manifest) -> None:
    """Raise Refused unless the package lies here as it was signed; by whom is each machine's to judge."""
    path = home / FOLDER / package.name(manifest.version)
    try:
        package.number(manifest.version)
        package.matches(manifest, path.read_bytes())
    except OSError as why:
        raise Refused(f"{path} can't be read ({why.strerror}): schoolpulse rollout start puts it there") from None
    except BadPackage as why:
        raise Refused(f"{path}: {why}") from None


def take(home: Path, zip_file: Path) -> Manifest:
    """Copy a package here and return what its ``.sig`` says. Raises Refused, OSError."""
    try:
        manifest = Manifest(**json.loads(zip_file.with_name(zip_file.name + ".sig").read_text(encoding="utf-8")))
        body = zip_file.read_bytes()
        package.number(manifest.version)
        package.matches(manifest, body)
        package.check(body)
    except (ValueError, TypeError, BadPackage) as why:
        raise Refused(f"{zip_file}: {why}: sign it with 'schoolpulse package sign'") from None
    folder = home / FOLDER
    put(folder / package.name(manifest.version), body)
    return manifest
