"""The versions of the agent that lie beside its reports, and which of them is to run.

What starts agents (``launch.py``) and what fetches packages (``update.py``) may be of different versions: they agree by
these files alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from schoolpulse_agent import package
from schoolpulse_agent.package import BadPackage, Manifest

FOLDER = "versions"  # in the folder of the reports
FILE = "state.json"
STARTS = 3  # of a version on trial; then it is refused


class State(NamedTuple):
    """Which version runs. Empty text: none, or for ``good`` and ``previous`` the one that is installed."""

    good: str = ""  # reports arrived under it
    previous: str = ""  # what was good before
    trial: str = ""  # to be started, until a report has arrived under it
    tried: str = ""  # that was on trial last
    starts: int = 0  # of ``tried``
    refused: str = ""  # the newest that is not to run, a space, and why


def load(folder: Path) -> State:
    """What stands there; all empty if nothing can be read, as after a frozen disk's restart."""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = State(**{name: said[name] for name in State._fields if name in said})
    except (OSError, ValueError, TypeError):
        return State()
    texts = [value for name, value in found._asdict().items() if name != "starts"]
    return found if type(found.starts) is int and all(isinstance(text, str) for text in texts) else State()


def save(folder: Path, state: State) -> None:
    """Write it as a whole and durably. Raises OSError."""
    put(folder / FILE, json.dumps(state._asdict()).encode())


def put(path: Path, body: bytes) -> None:
    """Write a file as a whole or not at all, durable when it returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def keep(folder: Path, manifest: Manifest, body: bytes) -> None:
    """Put a package there. Raises OSError."""
    put(folder / f"{manifest.version}.zip", body)
    put(folder / f"{manifest.version}.sig", json.dumps(manifest._asdict()).encode())


def find(folder: Path, version: str, key: bytes) -> Path:
    """The zip of a version, once it is sure that this key has signed it as it lies there. Raises BadPackage."""
    package.number(version)  # or its name could lead elsewhere
    path = folder / f"{version}.zip"
    try:
        manifest = package.read(json.loads(path.with_suffix(".sig").read_bytes()), key)
        if manifest.version != version:
            raise BadPackage(f"{path.name} has the signature of {manifest.version}")
        with path.open("rb") as file:
            package.matches(manifest, file.read(package.MAX_BYTES + 1))
    except (OSError, ValueError, RecursionError) as why:  # no path: the centre is told why a version does not run
        said = why.strerror if isinstance(why, OSError) else type(why).__name__
        raise BadPackage(f"{path.name} can't be read: {said}") from None
    return path


def clear(folder: Path, state: State) -> None:
    """Remove the packages that nothing can go back to."""
    for path in folder.glob("*.*"):
        if path.suffix in (".zip", ".sig", ".new") and path.stem not in (state.good, state.previous, state.trial):
            with contextlib.suppress(OSError):
                path.unlink()
