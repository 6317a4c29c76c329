"""`schoolpulse package`: a key, a package and its signature, on a machine without a centre."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from schoolpulse_agent import __version__, settings
from schoolpulse_api.__main__ import main


def test_a_key_a_package_and_its_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, zipped = tmp_path / "key", tmp_path / f"schoolpulse-agent-{__version__}.zip"
    assert main(["package", "key", "--out", str(key)]) == 0
    said = capsys.readouterr().out
    assert "never lies on the centre's server" in said and "không bao giờ" in said
    assert settings.parse(tomllib.loads(said), "as printed").update.enabled
    assert main(["package", "build", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{zipped}\n"
    assert main(["package", "sign", "--key", str(key), str(zipped)]) == 0
    assert zipped.with_name(zipped.name + ".sig").exists()
    assert key.read_text().splitlines()[1] not in said + capsys.readouterr().out


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key"
    assert main(["package", "key", "--out", str(key)]) == 0
    assert main(["package", "key", "--out", str(key)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["package", "sign", "--key", str(key), str(tmp_path / "none.zip")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["package", "sign", "--key", str(tmp_path / "none"), str(key)]) == 1
    assert main(["package", "sign", "--key", str(key), str(key)]) == 1
    assert capsys.readouterr().err.count("\n") == 2
