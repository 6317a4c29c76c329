"""The agent as a package installs it: the system's Python, the agent and its libraries in a folder of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

from running import Program

LIBRARIES = ("paho", "psutil")
SYSTEM = "/usr/bin/python3"  # Debian's; this environment's own where there is none
START = """import sys
sys.path.insert(0, {here!r})
from schoolpulse_agent.__main__ import main
sys.exit(main())
"""
# CPU of each probe that a machine reads by itself, mean of several reads a second apart; the first read is left out.
PROBES = """import json, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from schoolpulse_agent import settings
probes, taken = settings.load(Path(sys.argv[1])).probes, {{}}
for turn in range(int(sys.argv[2]) + 1):
    for name, probe in probes.items():
        start = time.process_time()
        try:
            values = sum(len(reading.fields) for reading in probe.read())
        except Exception:
            values = 0
        if turn:
            taken.setdefault(name, []).append((time.process_time() - start, values))
    time.sleep(1)
print(json.dumps({{name: [1000 * sum(t for t, _ in all) / len(all), all[-1][1]] for name, all in taken.items()}}))
"""


class Installed:
    """``tree``: the checkout whose agent it is."""

    def __init__(self, tree: Path, folder: Path, python: str = SYSTEM) -> None:
        self.python = python if Path(python).exists() else sys.executable
        self.folder, self._here = folder, folder / "lib"
        shutil.copytree(
            tree / "agent" / "schoolpulse_agent",
            self._here / "schoolpulse_agent",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in LIBRARIES:
            spec = importlib.util.find_spec(name)
            assert spec and spec.submodule_search_locations
            source = spec.submodule_search_locations[0]
            shutil.copytree(source, self._here / name, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([self.python, "-m", "compileall", "-q", "-j", "1", str(self._here)], check=True)
        (folder / "start.py").write_text(START.format(here=str(self._here)))
        (folder / "probes.py").write_text(PROBES.format(here=str(self._here)))

    def version(self) -> str:
        """Of the Python that it runs with."""
        command = [self.python, "-c", "import platform; print(platform.python_version())"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def state(self, device: str) -> Path:
        """Where it keeps reports that nobody has confirmed."""
        return self.folder / device / "state"

    def settings(self, device: str, secret: str, port: int, ca: Path, interval: float) -> Path:
        """Its settings file; reports are kept in a folder beside it."""
        own = self.folder / device
        own.mkdir(exist_ok=True)
        path = own / "agent.toml"
        path.write_text(
            f'[device]\nid = "{device}"\nschool = "s"\nsecret = "{secret}"\n'
            f'[broker]\nurl = "mqtts://127.0.0.1:{port}"\nca_file = "{ca}"\n'
            f'[reports]\ninterval = {interval}\nfolder = "{self.state(device)}"\n'
        )
        path.chmod(0o600)
        return path

    def start(self, settings: Path, memory: Path) -> Program:
        """Run it; ``memory``: a folder that is on no disk, for what it prints and for reports of this minute."""
        command = [self.python, "-I", "-S", str(self.folder / "start.py"), "--config", str(settings), "run"]
        return Program(command, memory, RUNTIME_DIRECTORY=str(memory))

    def start_times(self, settings: Path, port: int, memory: Path, runs: int) -> list[float]:
        """Milliseconds from its start until it connects, of several starts; ``port``: where the settings send it."""
        times = []
        with socket.create_server(("127.0.0.1", port)) as broker:
            broker.settimeout(20)
            for _ in range(runs):
                began = time.perf_counter()
                program = self.start(settings, memory)
                connection, _ = broker.accept()
                times.append(1000 * (time.perf_counter() - began))
                connection.close()
                program.kill()
        return times

    def probes(self, settings: Path, reads: int) -> dict[str, tuple[float, int]]:
        """CPU milliseconds of each probe and the values it gives."""
        command = [self.python, "-I", "-S", str(self.folder / "probes.py"), str(settings), str(reads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=reads * 30 + 60)
        return {name: (cost, values) for name, (cost, values) in json.loads(done.stdout).items()}


def prompt_name(kind: str) -> str:
    """A device's name with which the agent reports early in its interval: where in it follows from the name."""
    return min((f"{kind}-{number}" for number in range(1000)), key=lambda name: zlib.crc32(name.encode()))


def memory_folder() -> str | None:
    """Where files are on no disk, if there is such a place."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112
