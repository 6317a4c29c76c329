"""What an enrolment writes: other settings stay as they are, files come whole or not at all."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import keeping, settings
from schoolpulse_agent.enroll import Answer, Request

NEW = {"device": {"id": "d2", "school": "s"}, "broker": {"url": "mqtts://h"}, "centre": {"url": "https://c"}}
ANSWER = Answer("d2", "new", "thcs-lac-hong", None, "PC", "mqtts://broker.example", "CA", None)


def answer(device: str, secret: str, certificate: str | None = None) -> Answer:
    return Answer(device, secret, "s", None, "PC", "mqtts://broker.example", "CA", certificate)


def edited(text: str) -> str:
    return keeping.edited(text, NEW, "agent.toml")


def test_an_empty_file_gets_the_three_sections() -> None:
    assert tomllib.loads(edited("")) == NEW


def test_what_is_not_of_enrolment_stays_letter_for_letter() -> None:
    rest = '[reports]\ninterval = 30   # thường\n\n[probe.disk]\ntypes = [\n  "ext4",\n]\n'
    made = edited(
        f'# Trường Lạc Hồng\n\n[device]  # of this PC\nid = "d1"\nsecret = "old"\n# old note\n\n[broker]\n{rest}'
    )
    assert made.startswith("# Trường Lạc Hồng\n") and made.endswith(rest)
    assert "old" not in made.replace("# old note", "")
    assert tomllib.loads(made) == {**tomllib.loads(rest), **NEW}
    assert edited(made) == made


@pytest.mark.parametrize(
    "text",
    [
        'device = { id = "d1" }\n',
        'device.id = "d1"\n[reports]\ninterval = 9\n',
        '["device"]\nid = "d1"\n',
        '[probe.disk]\ntypes = """\n[device]\n"""\n',
    ],
)
def test_what_can_not_be_edited_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(settings.SettingsError, match=r"agent.toml: .*remove \[device\], \[broker\], \[centre\]"):
        edited(text)


parts = st.sampled_from(
    [
        '[device]\nid = "d1"\n',
        "[ broker ]\n",
        "[centre] # c\n",
        "# note\n",
        "\n",
        "[reports]\ninterval = 9\n",
        '[probe.disk]\ntypes = [\n["x"]]\n',
        "a = '''\n[device]\n'''\n",
        "[probe.cpu]\r\nenabled = true\r\n",
        "= x\n",
    ]
)


@given(st.lists(parts, max_size=8).map("".join))
def test_any_file_is_edited_rightly_or_refused(text: str) -> None:
    try:
        old = tomllib.loads(text)
        made = edited(text)
    except (tomllib.TOMLDecodeError, settings.SettingsError):
        return
    assert tomllib.loads(made) == {**old, **NEW}


def test_a_path_with_backslashes_and_vietnamese_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / 'C:\\Dữ liệu "a"'
    folder.mkdir()
    keeping.take_over(folder / "agent.toml", ANSWER, "https://c", None)
    assert settings.load(folder / "agent.toml").secret() == "new"


def test_until_the_settings_file_is_renamed_the_machine_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, request = tmp_path / "agent.toml", Request("key", "csr")
    keeping.take_over(config, answer("d1", "one", "PEM one"), "https://c", request)
    put = keeping.put

    def power_cut(path: Path, text: str, mode: int = 0o600) -> None:
        if path == config:
            raise OSError(5, "power cut")
        put(path, text, mode)

    monkeypatch.setattr(keeping, "put", power_cut)
    with pytest.raises(OSError, match="power cut"):
        keeping.take_over(config, answer("d2", "two", "PEM two"), "https://c", request)
    found = settings.load(config)
    assert (found.device.id, found.secret()) == ("d1", "one")
    assert Path(found.certificate()[0]).read_text() == "PEM one"
    monkeypatch.undo()
    keeping.take_over(config, answer("d2", "two"), "https://c", request)
    keeping.take_over(config, answer("d2", "three"), "https://c", None)
    found = settings.load(config)
    assert (found.device.id, found.secret(), found.certificate()) == ("d2", "three", None)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"agent.toml", "ca.pem", "secret-d2", "device-d2.key", "device-d2.pem"}  # of the try that was cut


def test_a_secret_of_ones_own_file_elsewhere_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "elsewhere" / "secret"
    own.parent.mkdir()
    own.write_text("mine")
    config = tmp_path / "etc" / "agent.toml"
    config.parent.mkdir()
    config.write_text(f'[device]\nid = "d1"\nschool = "s"\nsecret_file = "{own}"\n')
    keeping.take_over(config, ANSWER, "https://c", None)
    assert own.read_text() == "mine"


def test_a_settings_file_that_is_a_link_stays_one_and_keeps_its_mode(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text("[reports]\ninterval = 9\n")
    real.chmod(0o640)
    (tmp_path / "agent.toml").symlink_to(real)
    keeping.take_over(tmp_path / "agent.toml", ANSWER, "https://c", None)
    assert (tmp_path / "agent.toml").is_symlink() and settings.load(real).device.id == "d2"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_link_laid_where_a_secret_is_written_first_is_not_followed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text("")
    (tmp_path / ".secret.new").symlink_to(trap)
    keeping.put(tmp_path / "secret", "s")
    assert trap.read_text() == "" and (tmp_path / "secret").read_text() == "s"


def test_what_can_not_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        keeping.put(tmp_path / "secret", "x" * 10_000 + "\udc80")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").read_text() == "old"


def test_a_folder_that_is_full_or_missing_is_noticed_when_preparing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        keeping.prepare(Path("/proc/agent.toml"))
    keeping.prepare(tmp_path / "new" / "agent.toml")
    assert list((tmp_path / "new").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
