"""The Debian package as a technician meets it: built, installed, enrolled at a real centre, run, upgraded, purged."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from deploy.debs import build, install
from office import Office
from privateroot import PrivateRoot
from running import ROOT, Program, wait_until

UNIT = ROOT / "deploy/systemd/schoolpulse-agent.service"
CODE = "usr/lib/schoolpulse-agent"
LOADED = """
import sys; sys.argv = ["main.py"]; sys.path[:0] = ["/usr/lib/schoolpulse-agent"]
import main; main.search(main.choose())
import paho.mqtt.client, psutil, schoolpulse_agent.link, schoolpulse_agent.agent
print(*(sys.modules[name].__file__ for name in ("paho.mqtt.client", "psutil", "schoolpulse_agent")))
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("1.2.3", tmp_path_factory.mktemp("dist"))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[PrivateRoot]:
    made = PrivateRoot(tmp_path / "machine")
    yield made
    made.close()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    made.up()
    yield made
    made.close()


def start(root: PrivateRoot, manager: str) -> Program:
    """As systemd would: the unit's own line, its user, its folder."""
    words = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)[0]
    user = re.findall(r"^User=(.*)$", UNIT.read_text(), re.MULTILINE)[0]
    root.run("install", "-d", "-o", user, "-g", user, "/run/schoolpulse")
    told = {"RUNTIME_DIRECTORY": "/run/schoolpulse", "NOTIFY_SOCKET": manager}
    return root.start(*shlex.split(words), user=user, **told)


def listening() -> tuple[socket.socket, str]:
    """A socket as systemd's, in no file, so that a private root sees it too; and its name."""
    name = f"schoolpulse-{uuid4()}"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(f"\0{name}")
    manager.settimeout(20)
    return manager, f"@{name}"


def heard(manager: socket.socket) -> set[bytes]:
    """All that was said up to now; the queue is short, and empty then."""
    words = set()
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            words.add(manager.recv(100))
    return words


def device(root: PrivateRoot) -> str:
    return str(tomllib.loads((root.root / "etc/schoolpulse/agent.toml").read_text())["device"]["id"])


def test_the_same_commit_makes_the_same_bytes_and_few_of_them(deb: Path, tmp_path: Path) -> None:
    again = build("1.2.3", tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(deb.read_bytes()).digest()
    assert deb.stat().st_size < 200_000


def test_what_the_package_brings_along_is_what_the_lock_file_names() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked = next(each["version"] for each in lock if each["name"] == "paho-mqtt")
    assert f"\npaho-mqtt=={locked} " in (ROOT / "deploy/debian/vendor.txt").read_text()


def test_an_installed_agent_runs_its_own_code_and_is_enabled_but_not_enrolled(root: PrivateRoot, deb: Path) -> None:
    said = install(root, deb)
    assert "sudo schoolpulse-agent enroll URL TOKEN" in said
    assert root.run("schoolpulse-agent", "--version") == "schoolpulse-agent 1.2.3\n"
    paho, psutil, own = root.run("/usr/bin/python3", "-I", "-S", "-c", LOADED).split()
    assert (paho.partition("paho")[0], psutil.partition("psutil")[0], own) == (
        f"/{CODE}/vendor/",
        "/usr/lib/python3/dist-packages/",
        f"/{CODE}/schoolpulse_agent/__init__.py",
    )
    assert list((root.root / CODE / "schoolpulse_agent/__pycache__").glob("link.*.pyc")), "not each start"
    assert root.run("stat", "-c", "%U:%G %a", "/etc/schoolpulse") == "schoolpulse:schoolpulse 750\n"
    assert root.run("getent", "passwd", "schoolpulse").endswith(":/nonexistent:/usr/sbin/nologin\n")
    for wanted in ("multi-user.target.wants/schoolpulse-agent.service", "timers.target.wants/schoolpulse-smart.timer"):
        assert (root.root / "etc/systemd/system" / wanted).is_symlink()
    assert not (root.root / "etc/schoolpulse/agent.toml").exists()  # so that the unit's condition holds it back
    assert "memory" in root.run("schoolpulse-agent", "data", user="schoolpulse").lower()


def test_enrolled_at_a_centre_it_reports_as_its_own_user_and_is_the_same_machine_after_an_upgrade(
    root: PrivateRoot, deb: Path, office: Office, tmp_path: Path
) -> None:
    install(root, deb)
    (root.root / "etc/schoolpulse/agent.toml").write_text("[reports]\ninterval = 2\n")
    root.run("schoolpulse-agent", "enroll", office.url, "-", said=office.token(uses=1))
    owners = {root.run("stat", "-c", "%U", f"/etc/schoolpulse/{name}").strip() for name in ("secret", "ca.pem")}
    assert owners == {"schoolpulse"}
    known = device(root)
    for version in ("1.2.3", "1.3.0"):
        if version == "1.3.0":
            install(root, build(version, tmp_path / "next"))
            assert root.run("schoolpulse-agent", "--version").strip().endswith(version)
            assert device(root) == known
        before = office.stored(known)
        manager, name = listening()
        running = start(root, name)
        assert manager.recv(100) == b"READY=1", "Type=notify: or the unit would never be up"
        office.wait_online(known)
        wait_until(lambda before=before: office.stored(known) not in (0, before), 30, "reports are stored")
        assert b"WATCHDOG=1" in heard(manager)
        assert running.stop() == 0, running.printed()
        assert b"STOPPING=1" in heard(manager)
        manager.close()
        assert "Traceback" not in running.printed(), running.printed()


def test_what_is_removed_keeps_identity_and_reports_and_what_is_purged_leaves_nothing(
    root: PrivateRoot, deb: Path
) -> None:
    install(root, deb)
    root.run("schoolpulse-agent", "--version")
    for name in ("etc/schoolpulse/agent.toml", "var/lib/schoolpulse/1-1.seg"):
        (root.root / name).write_text("")
    root.run("dpkg", "--remove", "schoolpulse-agent")
    assert not (root.root / CODE).exists()
    assert (root.root / "etc/schoolpulse/agent.toml").exists() and (root.root / "var/lib/schoolpulse/1-1.seg").exists()

    install(root, deb)
    for word in ("--remove", "--purge"):
        root.run("dpkg", word, "schoolpulse-agent")
    root.run("rm", "-f", "/var/log/dpkg.log")
    assert {path for path in root.changed() if "schoolpulse" in path} == set()
    assert not re.search("schoolpulse", root.run("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"))
    assert root.run("dpkg-query", "--show", "schoolpulse-agent", code=1)
