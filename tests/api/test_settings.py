"""The server's settings: file, environment over it, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_api.settings import SettingsError, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SP_HOME", "SP_HTTP_PORT", "SP_MQTT_PORT", "SP_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_goes_over_the_file_and_the_command_line_over_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "schoolpulse.toml").write_text('http_port = 9000\nmqtt_port = 9001\nhome = "from-file"')
    monkeypatch.setenv("SP_HTTP_PORT", "9100")
    found = load(home=folder / "given")
    assert (found.http_port, found.mqtt_port, found.home) == (9100, 9001, folder / "given")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("htp_port = 1", "did you mean 'http_port'"),
        ("http_port = 0", "http_port"),
        ('http_port = "many"', "many"),
        ("http_port = ", "schoolpulse.toml"),
    ],
)
def test_a_wrong_file_is_one_clear_error(folder: Path, content: str, said: str) -> None:
    (folder / "schoolpulse.toml").write_text(content)
    with pytest.raises(SettingsError, match=said) as error:
        load()
    assert "\n" not in str(error.value)


def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SP_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load()


def test_store_and_registry_lie_in_home_unless_named(folder: Path) -> None:
    found = load(home=folder / "x")
    assert found.store_url == f"duckdb://{folder}/x/samples.duckdb"
    assert found.registry_url == f"sqlite:///{folder}/x/registry.sqlite"


def test_an_unknown_variable_is_an_error_that_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SP_HTP_PORT", "1")
    with pytest.raises(SettingsError, match="SP_HTTP_PORT"):
        load()
