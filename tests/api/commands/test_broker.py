"""`schoolpulse broker setup`: a folder that a real mosquitto starts with, as often as it is asked for."""

from __future__ import annotations

import argparse
import os
import ssl
from pathlib import Path

import pytest
from pipeline import Client
from running import Program, free_port, wait_until

from schoolpulse_api import settings
from schoolpulse_api.commands import broker
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School


def setup(home: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    broker.arguments(parser)
    return broker.run(parser.parse_args(["setup", *more]), settings.load(home=home))


def test_the_folder_is_one_that_mosquitto_starts_with_and_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.put(School(key="s", name="Trường"), Room(key="r", school="s", name="Phòng"))
    secret = registry.enrol("d1", "s", "r", "d1", "lab_pc")
    registry.close()
    authority = Authority.create(tmp_path / "tls", "x", ["127.0.0.1"])
    ports = [free_port() for _ in range(3)]
    named = [f"--{name}-port={port}" for name, port in zip(("mtls", "secret", "plain"), ports, strict=True)]
    assert setup(tmp_path, "--host=127.0.0.1", *named) == 0
    folder = tmp_path / "mosquitto"
    first = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert setup(tmp_path, "--host=127.0.0.1", *named) == 0
    again = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name for name in first if first[name] != again[name]} <= {"crl.pem", "passwords"}  # new date, new salt
    printed = capsys.readouterr().out
    assert f"mosquitto -c {folder}/mosquitto.conf" in printed and "systemctl reload mosquitto" in printed
    assert f'broker_folder = "{folder}"' in printed
    assert (folder / "collector-password").read_text().strip() not in printed

    config = folder / "mosquitto.conf"
    config.write_text(config.read_text().replace("user mosquitto", f"user {os.environ.get('USER', 'root')}"))
    process = Program(["/usr/sbin/mosquitto", "-c", str(config)], tmp_path / "out")
    wait_until((folder / "run/mosquitto.pid").exists, 10, "mosquitto runs")
    device = Client(ports[1], "d1", secret, tls=ssl.create_default_context(cadata=authority.ca_pem))
    assert device.admitted
    device.close()
    process.stop()


def test_without_an_authority_or_with_a_port_that_is_none_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no CA"):
        setup(tmp_path)
    with pytest.raises(SystemExit):
        setup(tmp_path, "--mtls-port=0")
