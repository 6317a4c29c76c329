"""Starts the agent in the version that is to run: one on trial, the last good one, or the installed.

Always the installed one's code. It trusts no package for what it did yesterday: the signature is verified at each
start with the key in the machine's own settings, for the folder of the packages can be written by the agent. For the
same reason it takes packages of its own user alone: `sudo schoolpulse-agent check` runs the installed version.
"""

from __future__ import annotations

from schoolpulse_agent import lazy

lazy.load_later()  # before the imports below, which would bring them all

import contextlib
import importlib
import os
import sys
from pathlib import Path

from schoolpulse_agent import __version__, package, settings, toml, versions
from schoolpulse_agent.package import BadPackage
from schoolpulse_agent.versions import STARTS, State


def main() -> int:
    """The command ``schoolpulse-agent``, in the version that is to run; return its exit code."""
    choose()
    run = importlib.import_module("schoolpulse_agent.__main__").main
    return int(run())


def choose(arguments: list[str] | None = None) -> str:
    """Let ``import schoolpulse_agent`` give the version that is to run; return it, empty for the installed one.

    ``arguments``: of the command line; ``run`` among them counts as a start of a version on trial. Never raises.
    """
    try:
        path = _pick(sys.argv[1:] if arguments is None else arguments)
    except Exception as why:  # nothing about updates may keep the installed agent from starting
        _say(f"the installed version {__version__} runs: {type(why).__name__}: {why}")
        path = None
    if path is None:
        return ""
    for name in [name for name in sys.modules if name.partition(".")[0] == "schoolpulse_agent"]:
        del sys.modules[name]
    sys.path.insert(0, str(path))
    importlib.invalidate_caches()
    return path.stem


def _pick(arguments: list[str]) -> Path | None:
    found = _settings(arguments)
    if found is None:
        return None
    key, folder = found
    if _is_anothers(folder):
        return None
    state = versions.load(folder)
    if "run" in arguments and state.trial:
        state = _begin(folder, state, key)
    for version in (state.trial, state.good, state.previous):
        if version:
            try:
                return _find(folder, version, key)
            except BadPackage as why:
                _say(f"version {version} does not run: {why}")
    return None


def _is_anothers(folder: Path) -> bool:
    """Whether these packages are another user's: who asks with root's rights would run with them what that user wrote.

    The signature is no help: the same user may write the settings that name its key.
    """
    try:
        return os.name == "posix" and folder.stat().st_uid != os.geteuid()
    except FileNotFoundError:
        return False


def _begin(folder: Path, state: State, key: bytes) -> State:
    """Count a start of the version on trial, and refuse it if it had its tries."""
    try:
        _find(folder, state.trial, key)
        if state.starts >= STARTS:
            raise BadPackage(f"it ended {STARTS} times while it was tried")
    except BadPackage as why:
        _say(f"version {state.trial} is refused: {why}")
        state = state._replace(trial="", refused=f"{state.trial} {why}")
    else:
        state = state._replace(starts=state.starts + 1)
    try:
        versions.save(folder, state)
    except OSError as why:  # what can't be counted can't be tried
        _say(f"{folder} can't be written: {why.strerror}")
        return state._replace(trial="")
    return state


def _find(folder: Path, version: str, key: bytes) -> Path:
    if package.number(version) <= package.number(__version__):
        raise BadPackage(f"the installed one, {__version__}, is as new")
    return versions.find(folder, version, key)


def _settings(arguments: list[str]) -> tuple[bytes, Path] | None:
    """Key and folder, None where updates are off. A file that can't be read is what the agent itself will tell of."""
    path = settings.DEFAULT
    for at, argument in enumerate(arguments):
        if argument == "--config" and at + 1 < len(arguments):
            path = Path(arguments[at + 1])
        elif argument.startswith("--config="):
            path = Path(argument.partition("=")[2])
    try:
        document = toml.loads(path.read_text(encoding="utf-8-sig"))
        update = document.get("update", {})
        if update.get("enabled") is not True:
            return None
        folder = Path(document.get("reports", {}).get("folder", settings.Reports.folder)) / versions.FOLDER
        return package.public_key(update["public_key"]), folder
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _say(message: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # a service may have no standard error
        sys.stderr.write(f"schoolpulse-agent: {message}\n")
