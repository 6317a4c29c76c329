"""Builds schoolpulse-agent_VERSION_all.deb, the same bytes from the same commit: ``make deb``.

Needs dpkg-deb and uv, which fetches what deploy/debian/vendor.txt names or takes it from its cache.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CODE = Path("usr/lib/schoolpulse-agent")
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
DOC = Path("usr/share/doc/schoolpulse-agent")
FILES = {  # what goes where, executable or not
    HERE / "main.py": CODE / "main.py",
    HERE / "smart.py": CODE / "smart.py",
    HERE / "schoolpulse-agent": Path("usr/bin/schoolpulse-agent"),
    HERE / "rtupdate": Path("usr/share/python3/runtime.d/schoolpulse-agent.rtupdate"),
    HERE / "tmpfiles.conf": Path("usr/lib/tmpfiles.d/schoolpulse-agent.conf"),
    HERE / "sysctl.conf": Path("usr/lib/sysctl.d/50-schoolpulse-agent.conf"),
    HERE / "agent.toml": DOC / "agent.toml",
    HERE / "copyright": DOC / "copyright",
    ROOT / "agent/README.md": DOC / "README.md",
    **{unit: Path("lib/systemd/system") / unit.name for unit in UNITS},
}
PROGRAMS = ("usr/bin/schoolpulse-agent", "usr/share/python3/runtime.d/schoolpulse-agent.rtupdate")
UNUSED = ("publish.py", "subscribe.py", "py.typed")  # of paho: what the agent never imports
VERSION = re.compile(r"[0-9][0-9A-Za-z.+~]*").fullmatch


def build(version: str, out: Path, epoch: int) -> Path:
    """Write the package into this folder; return its path. ``epoch``: the time of every file, Unix seconds."""
    if not VERSION(version):
        raise SystemExit(f"--version {version!r}: write it as 1.2.3")
    out.mkdir(parents=True, exist_ok=True)
    made = out / f"schoolpulse-agent_{version}_all.deb"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        _fill(root, version)
        control = root / "DEBIAN"
        control.mkdir()
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        text = (HERE / "control").read_text().replace("@VERSION@", version).replace("@SIZE@", str(-(-size // 1024)))
        (control / "control").write_text(text)
        for script in ("postinst", "prerm", "postrm"):
            shutil.copyfile(HERE / script, control / script)
        _settle(root, epoch)
        command = ["dpkg-deb", "--build", "--root-owner-group", "-Zxz", "-z9", str(root), str(made)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return made


def _fill(root: Path, version: str) -> None:
    package = root / CODE / "schoolpulse_agent"
    shutil.copytree(
        ROOT / "agent/schoolpulse_agent", package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "py.typed")
    )
    (package / "__init__.py").write_text(
        re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', (package / "__init__.py").read_text())
    )
    _bring_along(root / CODE / "vendor")
    for source, place in FILES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / place)


def _bring_along(folder: Path) -> None:
    local = ROOT / ".tools/bin/uv"
    uv = str(local) if local.exists() else "uv"
    with tempfile.TemporaryDirectory() as there:
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", there]
        command += ["--no-deps", "--require-hashes", "--no-compile-bytecode", "-r", str(HERE / "vendor.txt")]
        subprocess.run(command, check=True)
        for name in ("paho", "tomli"):
            ignore = shutil.ignore_patterns("__pycache__", *UNUSED)
            shutil.copytree(Path(there, name), folder / name, ignore=ignore)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".py":
            raise SystemExit(f"{path.name} is no Python: the package must run on any machine")


def _settle(root: Path, epoch: int) -> None:
    """Rights and times that depend neither on who builds nor on when."""
    for path in [root, *root.rglob("*")]:
        inside = path.relative_to(root)
        program = str(inside) in PROGRAMS or (inside.parts[:1] == ("DEBIAN",) and inside.name != "control")
        path.chmod(0o755 if path.is_dir() or program else 0o644)
        os.utime(path, (epoch, epoch))


def _epoch() -> int:
    """SOURCE_DATE_EPOCH, else when this commit was made, else a fixed day."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    command = ["git", "log", "-1", "--format=%ct"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip() else 1_793_000_000


def main() -> None:
    """Build and say where it is and how large."""
    version = tomllib.loads((ROOT / "agent/pyproject.toml").read_text())["project"]["version"]
    parser = argparse.ArgumentParser(description="Builds the agent's Debian package.")
    parser.add_argument("--version", default=version, help=f"default: {version}")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="default: dist/")
    args = parser.parse_args()
    made = build(args.version, args.out, _epoch())
    print(f"{made}  {made.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
