"""What puts the agent on a machine: two scripts, and the packages that somebody laid in a folder of the centre.

A package has one of the names below; the newest of a kind is also served under the kind's name, so that a script needs
no list: ``/installers/schoolpulse-agent.deb``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("install.sh", "install.ps1")
_VERSION = r"[0-9][0-9A-Za-z.+~]{0,40}"
KINDS = {  # the newest's name: the name with a version, and how such a file begins
    "schoolpulse-agent.deb": (re.compile(rf"schoolpulse-agent_{_VERSION}_all\.deb", re.ASCII), b"!<arch>\n"),
    "schoolpulse-agent-windows.zip": (re.compile(rf"schoolpulse-agent-windows-{_VERSION}\.zip", re.ASCII), b"PK\3\4"),
    "schoolpulse-agent-macos.zip": (re.compile(rf"schoolpulse-agent-macos-{_VERSION}\.zip", re.ASCII), b"PK\3\4"),
}


class NoInstaller(Exception):
    """There is no such package; the message says what to do."""


def script(name: str) -> str:
    """The text of one of ``SCRIPTS``."""
    return (HERE / name).read_text(encoding="utf-8")


def find(folder: Path, name: str) -> Path:
    """The package of this name, or the newest of this kind. Raises NoInstaller, also for a name that can't be one."""
    if name in KINDS:
        found = packages(folder, name)
        if found:
            return found[-1]
    elif _kind(name) and (folder / name).is_file():
        return folder / name
    raise NoInstaller("this centre has no such package: who runs it puts it there with schoolpulse installer add FILE")


def packages(folder: Path, kind: str) -> list[Path]:
    """Those of a kind that are there, the newest last."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if KINDS[kind][0].fullmatch(path.name)), key=_age)


def add(folder: Path, file: Path) -> Path:
    """Lay a copy into the folder, as a whole or not at all. Raises ValueError if it is none, OSError."""
    kind = _kind(file.name)
    if kind is None:
        raise ValueError(
            f"{file.name}: that is no package's name; they are called as schoolpulse-agent_1.2.3_all.deb, "
            "schoolpulse-agent-windows-1.2.3.zip, schoolpulse-agent-macos-1.2.3.zip"
        )
    with file.open("rb") as opened:
        if not opened.read(8).startswith(KINDS[kind][1]):
            raise ValueError(f"{file}: this is no {file.suffix} file; copy or download it again")
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{file.name}.new"
    shutil.copyfile(file, fresh)
    return fresh.replace(folder / file.name)


def _kind(name: str) -> str | None:
    return next((kind for kind, (pattern, _) in KINDS.items() if pattern.fullmatch(name)), None)


def _age(path: Path) -> list[tuple[int, str]]:
    """Versions in their order: 0.10 is newer than 0.9, and 1.0~rc1 older than 1.0."""
    version = re.split(r"(\d+|~)", re.findall(_VERSION, path.name)[0].removesuffix("."))
    parts = [(-1, "") if part == "~" else (int(part), "") if part.isdigit() else (0, part) for part in version if part]
    return [*parts, (0, "")]
