"""A real agent that a service manager keeps running, and which takes updates faster than it would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakecentre import FakeCentre
from running import Program, wait_until

from schoolpulse_agent import keeping, versions
from schoolpulse_agent.enroll import Answer
from schoolpulse_agent.package import Manifest, name
from schoolpulse_agent.versions import State

# The command `schoolpulse-agent`; the installed version with other times, as the packages have them.
AGENT = """
from schoolpulse_agent import launch, update
update.SPREAD, update.BACK, update.AGAIN = (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)
raise SystemExit(launch.main())
"""
OFF = ("cpu", "disk", "diskio", "net", "processes", "swap")


class Kept:
    """Device d1 of school s. ``more``: of its settings."""

    def __init__(self, folder: Path, centre: FakeCentre, port: int, secret: str, more: str) -> None:
        self.centre, self.outbox = centre, folder / "outbox"
        self.config = folder / "etc" / "agent.toml"
        self.config.parent.mkdir(parents=True)
        probes = "".join(f"[probe.{probe}]\nenabled = false\n" for probe in OFF)
        self.config.write_text(
            f'[reports]\ninterval = 1\nfolder = "{self.outbox}"\nreplay_spread = 0\nreplay_rate = 100\n{more}{probes}'
        )
        answer = Answer("d1", secret, "s", None, "PC", f"mqtt://localhost:{port}", centre.ca_pem, None)
        keeping.take_over(self.config, answer, centre.url, None)
        (folder / "run").mkdir(parents=True)
        command = [sys.executable, "-c", AGENT, "--config", str(self.config), "run"]
        self.program = Program(command, folder / "agent", RUNTIME_DIRECTORY=str(folder / "run"))
        self.codes: list[int] = []  # with which it ended

    @property
    def state(self) -> State:
        return versions.load(self.outbox / versions.FOLDER)

    def hand_out(self, manifest: Manifest, body: bytes) -> None:
        """Let the centre have this package."""
        self.centre.instead[f"/packages/{name(manifest.version)}"] = (200, {}, body)

    def work(self) -> None:
        """What is to be done meanwhile."""

    def until(self, true: Callable[[], Any], what: str, seconds: float = 25) -> None:
        """As a service manager does meanwhile: what ends is started again."""

        def step() -> Any:
            if self.program.process.poll() is not None:
                self.codes.append(self.program.process.returncode)
                self.program.start()
            self.work()
            return true()

        try:
            wait_until(step, seconds, what)
        except AssertionError:
            print(self.program.printed()[-5000:], self.state)
            raise
