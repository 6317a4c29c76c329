"""The server's commands: a new centre, tokens, devices, audit, settings; run as a person would."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from schoolpulse_api import __main__ as program
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Audit, School


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> int:
    return program.main(["--home", str(home), *arguments])


def made(home: Path, *more: str) -> int:
    return run(home, "init", "--organisation", "Sở thử", "--name", "centre.test", "--listen", "127.0.0.1", *more)


def test_init_makes_a_centre_and_prints_link_and_enrol_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(home, "--school", "THCS Lạc Hồng") == 0
    printed = capsys.readouterr().out
    assert re.search(r"https://centre\.test:8443/sign-in\?token=[\w-]{43}\s", printed)
    assert re.search(r"schoolpulse-agent enroll https://centre\.test:8443 spe_[\w-]{32}\.[0-9a-f]{64}\s", printed)
    assert (home / "tls/ca.key").stat().st_mode & 0o777 == 0o600
    assert tomllib.loads((home / "schoolpulse.toml").read_text())["public_name"] == "centre.test"
    registry = Registry(Settings(home=home).registry_url)
    assert [school.key for school in registry.schools()] == ["thcs-lac-hong"]
    registry.close()


def test_init_a_second_time_changes_nothing_and_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(home)
    before = {path: path.read_bytes() for path in (home / "tls").iterdir()}
    assert made(home) == 2
    assert "already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (home / "tls").iterdir()} == before


@pytest.mark.parametrize("wrong", [["--listen", "everywhere"], ["--name", "https://x"], ["--mqtt-port", "8443"]])
def test_init_refuses_what_can_not_work_before_it_makes_anything(
    home: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(home, *wrong) == 2
    assert wrong[0] in capsys.readouterr().err and not home.exists()


def test_enrol_needs_a_centre_and_a_school_that_is_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "enrol", "s1") == 2
    assert "schoolpulse init" in capsys.readouterr().err
    made(home, "--school", "Lạc Hồng")
    assert run(home, "enrol", "none") == 1
    assert "'none'" in capsys.readouterr().err
    assert run(home, "enrol", "lac-hong", "--uses", "2", "--qr") == 0
    shown = capsys.readouterr().out
    assert "enrol#spe_" in shown and "schoolpulse installer add" in shown, "nobody can install yet, and it says so"
    (home / "installers").mkdir()
    (home / "installers/schoolpulse-agent_1.0_all.deb").touch()
    assert run(home, "enrol", "lac-hong") == 0 and "installer add" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [["fleet"], ["device", "list"], ["config", "show"], ["person", "list"]])
def test_a_folder_without_a_centre_is_told_with_what_to_do(
    home: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *command) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"schoolpulse: {home}: there is no such folder") and "--home" in said
    assert said.count("\n") == 1 and not home.exists()


def test_a_file_that_is_not_there_is_named_in_one_plain_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(home)
    capsys.readouterr()
    assert run(home, "rollout", "start", "none.zip") == 1
    assert capsys.readouterr().err == "schoolpulse: none.zip.sig: No such file or directory\n"


def test_devices_are_listed_cut_off_and_brought_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(home, "--school", "Lạc Hồng")
    registry = Registry(Settings(home=home).registry_url)
    with registry.change("system") as change:
        from schoolpulse_collector.registry import devices

        devices.put(change, "d1", "lac-hong", None, "PC-01", "lab_pc")
    capsys.readouterr()
    for action, status in (("revoke", "revoked"), ("restore", "active"), ("retire", "retired")):
        assert run(home, "device", action, "d1") == 0
        assert (found := registry.device("d1")) and found.status == status
    assert run(home, "device", "list") == 0
    assert re.search(r"d1 +retired +- +lac-hong +- +lab_pc +PC-01", capsys.readouterr().out)
    assert run(home, "device", "revoke", "nobody") == 1
    assert run(home, "device", "rekey", "d1") == 1  # it is retired
    assert run(home, "device", "clones") == 0
    registry.close()


def test_the_audit_is_verified_against_a_hash_kept_elsewhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(home)
    capsys.readouterr()
    assert run(home, "audit", "verify") == 0
    kept = re.search(r"[0-9a-f]{64}", capsys.readouterr().out)
    assert kept and run(home, "audit", "verify", "--hash", kept[0]) == 0
    assert run(home, "audit", "verify", "--hash", "0" * 63 + "1") == 1
    assert "viết lại" in capsys.readouterr().out
    registry = Registry(Settings(home=home).registry_url)
    with registry.engine.begin() as connection:
        names = connection.exec_driver_sql("select name from sqlite_master where type = 'trigger'").scalars().all()
        for name in names:
            connection.exec_driver_sql(f"drop trigger {name}")
        connection.execute(Audit.__table__.update().where(Audit.seq == 2).values(actor="person:other"))
    registry.close()
    capsys.readouterr()
    assert run(home, "audit", "verify") == 1
    assert "row 2" in capsys.readouterr().out


def test_the_audit_is_exported_line_by_line(home: Path, tmp_path: Path) -> None:
    made(home)
    assert run(home, "audit", "export", str(tmp_path / "audit.jsonl")) == 0
    rows = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)) and rows[0]["actor"] == "system"


def test_the_printed_sample_of_settings_is_a_settings_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "settings") == 0
    lines = capsys.readouterr().out.splitlines()
    sample = tomllib.loads("\n".join(line[2:] for line in lines if re.match(r"# \w+ = ", line)))
    assert set(sample) == set(Settings.model_fields)
    Settings(**sample)


def test_a_link_makes_no_second_administrator_where_there_is_somebody(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(home, "--administrator", "lan") == 0
    assert run(home, "link") == 1
    assert "'admin'" in capsys.readouterr().err
    assert run(home, "link", "lan") == 0
    assert re.search(r"sign-in\?token=[\w-]{43}\s", capsys.readouterr().out)


def test_a_school_is_merged_into_another(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(home, "--school", "Lạc Hồng")
    registry = Registry(Settings(home=home).registry_url)
    registry.put(School(key="cu", name="Trường cũ"))
    assert run(home, "org", "merge-school", "cu", "lac-hong") == 0
    assert {school.key: school.merged_into for school in registry.schools()} == {"cu": "lac-hong", "lac-hong": None}
    assert run(home, "org", "merge-unit", "none", "org") == 1
    registry.close()
