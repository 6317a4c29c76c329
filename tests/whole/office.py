"""A centre as its people make it, by ``schoolpulse init`` and ``up``, and machines that enrol there: real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pyotp
from running import Program, free_port, wait_until

PASSWORD = "hoa phượng nở đỏ sân trường"
SCHOOL = "thcs-lac-hong"


class Office:
    """One centre with TLS on free ports, its first administrator and its first school. ``more``: environment."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder, self.home = folder, folder / "home"
        self.http, self.mqtts = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.http}"
        self.environment = {"SP_MQTT_PORT": str(free_port()), **more}
        ports = ["--http-port", str(self.http), "--mqtt-port", str(self.mqtts)]
        names = ["--organisation", "Sở thử nghiệm", "--name", "127.0.0.1", "--listen", "127.0.0.1"]
        self.told = self.command("init", *names, *ports, "--school", "THCS Lạc Hồng")

    def command(self, *arguments: str, code: int = 0) -> str:
        """What ``schoolpulse`` prints, running or not."""
        ended = subprocess.run(
            [sys.executable, "-m", "schoolpulse_api", "--home", str(self.home), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.stdout if code == 0 else ended.stderr

    def up(self) -> None:
        command = [sys.executable, "-m", "schoolpulse_api", "--home", str(self.home), "up"]
        self.program = Program(command, self.folder / "up", **self.environment)

        def listens() -> bool:
            assert self.program.process.poll() is None, self.program.printed()
            return "schoolpulse link" in self.program.printed()

        wait_until(listens, 60, "the centre says where it listens")
        key = (self.home / "token").read_text().strip()
        self.api = self.browser()
        self.api.headers["Authorization"] = f"Bearer {key}"

    def browser(self) -> httpx.Client:
        """One that trusts this centre's CA and nobody else's."""
        trusting = ssl.create_default_context(cafile=str(self.home / "tls/ca.pem"))
        return httpx.Client(base_url=self.url, verify=trusting, headers={"origin": self.url}, timeout=20)

    def first_sign_in(self) -> httpx.Client:
        """The administrator's one-time link, and all that is wanted of who came by it."""
        link = re.findall(r"https\S+/sign-in\?token=\S+", self.told)[0]
        browser = self.browser()
        assert browser.get(link).headers["location"] == "/account"
        assert browser.get("/api/v1/schools").status_code == 401, "nothing before all is set up"
        form = {"do": "password", "new": PASSWORD, "again": PASSWORD}
        assert browser.post("/account", data=form).status_code == 303
        secret = re.findall(r'name="secret" value="([A-Z2-7]{32})"', browser.get("/account").text)[0]
        form = {"do": "totp", "secret": secret, "code": pyotp.TOTP(secret).now()}
        assert browser.post("/account", data=form).headers["location"] == "/"
        return browser

    def token(self, **asked: Any) -> str:
        """A new enrolment token's text."""
        answer = self.api.post(f"/api/v1/schools/{SCHOOL}/tokens", json=asked)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["text"])

    def devices(self) -> dict[str, dict[str, Any]]:
        """Every device, by its id, as the API shows it."""
        return {each["id"]: each for each in self.api.get("/api/v1/devices").json()["items"]}

    def state(self, device: str) -> str:
        return str(self.devices()[device]["presence"]["state"])

    def wait_online(self, *devices: str) -> None:
        wait_until(lambda: all(self.state(each) == "online" for each in devices), 45, f"{devices} are online")

    def stored(self, device: str) -> int:
        """The newest number of this device's reports in the store."""
        asked = {"measurement": "report", "field": "seq", "where": f"device={device}", "aggregate": "last"}
        lines = self.api.get("/api/v1/series", params={**asked, "every": "1s", "start": "-5m"}).json()["series"]
        return int(lines[0]["points"][-1][1]) if lines else 0

    def close(self) -> None:
        """End it; no part of it may have failed on the way."""
        assert self.program.stop() == 0, self.program.printed()[-3000:]
        assert "Traceback" not in self.program.printed(), self.program.printed()[-5000:]


class Machine:
    """A machine with an agent's folder of its own. ``card``: the last byte of its network card's address."""

    def __init__(self, folder: Path, card: int) -> None:
        self.folder, self.config = folder, folder / "agent.toml"
        self.hardware = {
            "uuid": f"8d1f6f2e-0000-4000-8000-0000000000{card:02x}",
            "macs": [f"00:e0:4c:00:00:{card:02x}"],
        }
        if not self.config.exists():
            folder.mkdir(parents=True)
            self.config.write_text(f'[reports]\ninterval = 2\nfolder = "{folder}/reports"\n')

    @property
    def command(self) -> list[str]:
        runner = str(Path(__file__).with_name("machine.py"))
        return [sys.executable, runner, json.dumps(self.hardware), "--config", str(self.config)]

    def enrol(self, office: Office, token: str, *more: str, code: int = 0) -> str:
        """What ``schoolpulse-agent enroll`` prints; the token by standard input, out of the list of processes."""
        command = [*self.command, "enroll", office.url, "-", *more]
        spoken = {**os.environ, "SCHOOLPULSE_LANG": "en"}
        ended = subprocess.run(command, input=token, capture_output=True, text=True, timeout=60, env=spoken)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout if code == 0 else ended.stderr

    def start(self) -> Machine:
        self.program = Program([*self.command, "run"], self.folder / "log")
        return self

    @property
    def device(self) -> str:
        """The id that it has now, by its settings."""
        return re.findall(r'^id = "(\w+)"', self.config.read_text(), re.MULTILINE)[0]

    def copy(self, folder: Path, card: int) -> Machine:
        """Another machine that starts from an image of this one's disk."""
        shutil.copytree(self.folder, folder)
        config = folder / "agent.toml"
        config.write_text(config.read_text().replace(str(self.folder), str(folder)))  # there it is the same path
        return Machine(folder, card)

    def stop(self) -> None:
        assert self.program.stop() == 0, self.program.printed()[-3000:]
        assert "Traceback" not in self.program.printed(), self.program.printed()[-5000:]
