"""The one line that installs an agent, and the bundle for a USB stick: real shells, a real centre, and impostors."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.debs import build
from fakecentre import FakeCentre
from office import SCHOOL, Office
from privateroot import PrivateRoot
from running import ROOT

from schoolpulse_api import enrolline

SUDO = '#!/bin/sh\nexec "$@"\n'
RUN = "#!/bin/sh\ntouch {}\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[PrivateRoot]:
    made = PrivateRoot(tmp_path / "machine")
    sudo = made.root / "usr/local/bin/sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    yield made
    made.close()


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("1.2.3", tmp_path_factory.mktemp("dist"))


@pytest.fixture
def office(tmp_path: Path, deb: Path) -> Iterator[Office]:
    """A centre that is made, has the package, and is not up yet."""
    folder = tmp_path / "office"
    folder.mkdir()
    made = Office(folder)
    made.command("installer", "add", str(deb))
    yield made
    made.close()


def device(root: PrivateRoot) -> str:
    return re.findall(r'^id = "(\w+)"', (root.root / "etc/schoolpulse/agent.toml").read_text(), re.MULTILINE)[0]


def test_the_line_that_enrol_prints_installs_enrols_and_checks(root: PrivateRoot, office: Office) -> None:
    office.up()
    line = next(line for line in office.command("enrol", SCHOOL, "--uses", "1").splitlines() if "install.sh" in line)
    # With a token that is no good it says so, and does not try again by itself.
    said = root.run("bash", "-c", re.sub(r"spe_[\w-]{32}", "spe_" + "x" * 32, line.strip()), code=1)
    assert "· not enrolled: " in said and not (root.root / "etc/schoolpulse/enrol").exists()
    said = root.run("bash", "-c", line.strip())
    assert "✓ schoolpulse-agent 1.2.3" in said and "done, the agent reports" in said, said
    assert office.devices()[device(root)]["school"] == SCHOOL
    assert not list(root.root.glob("tmp/*/schoolpulse-agent.deb")), "what was fetched does not stay"
    # A second time nothing is spent and nothing lost.
    known = device(root)
    assert "enrolled already" in root.run("bash", "-c", line.strip()) and device(root) == known


def test_a_bundle_installs_before_the_centre_answers_and_enrols_once_it_does(root: PrivateRoot, office: Office) -> None:
    bundle = root.shared / "bundle.zip"
    said = office.command("bundle", SCHOOL, "--uses", "1", "--hours", "24", "--out", str(bundle))
    assert "1 máy" in said and bundle.stat().st_mode & 0o777 == 0o600
    root.run("python3", "-m", "zipfile", "-e", "/mnt/shared/bundle.zip", "/mnt/shared/usb")
    assert "sudo sh install.sh" in (root.shared / "usb/DOC-TRUOC.txt").read_text(encoding="utf-8-sig")
    said = root.run("sh", "/mnt/shared/usb/install.sh", "--name", "Máy 07", code=3)
    assert "enrols by itself" in said and "✓ schoolpulse-agent 1.2.3" in said
    assert root.run("stat", "-c", "%U %a", "/etc/schoolpulse/enrol") == "schoolpulse 600\n"

    office.up()
    unit = (ROOT / "deploy/systemd/schoolpulse-enrol.service").read_text()
    for name in ("ExecStart", "ExecStartPost"):
        root.run(*shlex.split(re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)[0]), user="schoolpulse")
    assert office.devices()[device(root)]["name"] == "Máy 07" and not (root.root / "etc/schoolpulse/enrol").exists()
    assert "done, the agent reports" in root.run("sh", "/mnt/shared/usb/install.sh")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ([], 2, "URL and TOKEN are needed"),
        (["https://127.0.0.1:1", "spe_x"], 2, "run the whole line"),
        (["--nmae", "x"], 2, "no such option"),
        (["a", "b", "c"], 2, "too much"),
        (["--name"], 2, "a name is missing"),
        (["--help"], 0, "--smart"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(tmp_path: Path, words: list[str], code: int, hint: str) -> None:
    script = tmp_path / "install.sh"
    script.write_text((ROOT / "api/schoolpulse_api/installers/install.sh").read_text())
    ended = subprocess.run(["sh", script, *words], capture_output=True, text=True, timeout=30)
    assert ended.returncode == code and hint in ended.stdout + ended.stderr


@pytest.mark.parametrize("shows", ["its own CA", "the real CA", "both", "nothing"])
def test_nothing_of_an_impostor_is_run(tmp_path: Path, shows: str) -> None:
    real, impostor = FakeCentre(), FakeCentre()
    shown = {
        "its own CA": impostor.ca_pem,
        "the real CA": real.ca_pem,
        "both": real.ca_pem + impostor.ca_pem,
        "nothing": "",
    }[shows]
    try:
        impostor.ca_pem = shown
        impostor.instead["/install.sh"] = (200, {}, RUN.format(tmp_path / "ran").encode())
        line = enrolline.line(impostor.url, real.token, real.ca.cert_pem.bytes().decode()).linux
        assert _bash(line, tmp_path) != 0
        assert not (tmp_path / "ran").exists()

        # The same line at the real one does run it, or this test would prove nothing.
        real.instead["/install.sh"] = impostor.instead["/install.sh"]
        assert _bash(line.replace(impostor.url, real.url), tmp_path) == 0
        assert (tmp_path / "ran").exists()
    finally:
        real.close()
        impostor.close()


def _bash(line: str, folder: Path) -> int:
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "sudo").write_text(SUDO)
    (bin_folder / "sudo").chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, timeout=30).returncode
