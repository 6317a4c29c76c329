"""Settings are read from TOML; a wrong one is refused in one line that says where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolpulse_agent import probe, settings
from schoolpulse_agent.settings import Settings, SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def load(path: Path, text: str) -> Settings:
    path.write_text(text, encoding="utf-8")
    return settings.load(path)


def refusal(path: Path, text: str) -> str:
    """The one line that refuses these settings."""
    with pytest.raises(SettingsError) as why:
        load(path, text)
    line = str(why.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line.removeprefix(str(path))


def test_without_a_file_all_have_defaults_and_every_probe_is_on() -> None:
    found = settings.load(None)
    assert (found.reports.interval, found.broker.url, found.device.id) == (60.0, "mqtt://127.0.0.1:1883", "")
    assert list(found.probes) == probe.names()


def test_an_empty_file_is_all_defaults(path: Path) -> None:
    assert load(path, "") == settings.load(None)


def test_what_a_file_says_holds_and_the_rest_stays(path: Path) -> None:
    found = load(
        path,
        """
        [device]
        id = "d01"
        school = "thcs-lac-hong"
        secret = "s3cret"
        [broker]
        url = "mqtts://centre.example"
        [reports]
        interval = 30
        """,
    )
    assert (found.device.id, found.device.school, found.secret()) == ("d01", "thcs-lac-hong", "s3cret")
    assert (found.broker.host, found.broker.port, found.broker.tls) == ("centre.example", 8883, True)
    assert (found.reports.interval, type(found.reports.interval)) == (30.0, float)
    assert found.reports.folder == "/var/lib/schoolpulse"


def test_the_sample_in_the_readme_is_valid(path: Path) -> None:
    readme = Path(settings.__file__).parent.parent / "README.md"
    sample = [line for line in readme.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    start = next(n for n, line in enumerate(sample) if line.strip() == "[device]")
    found = load(path, "\n".join(sample[start:]))
    assert found.device.id
    assert found.broker.tls
    assert "processes" not in found.probes


# Probes


def test_a_probe_has_its_own_settings_and_can_be_switched_off(path: Path) -> None:
    found = load(
        path,
        """
        [probe.disk]
        types = ["ext4", "ntfs"]
        every = 300
        enabled = true
        [probe.net]
        enabled = false
        """,
    )
    assert (found.probes["disk"].types, found.probes["disk"].every) == (("ext4", "ntfs"), 300.0)
    assert list(found.probes) == [name for name in probe.names() if name != "net"]


@pytest.mark.parametrize("value", ['"false"', "0", '"no"', "[]"])
def test_enabled_is_true_or_false_and_nothing_else(path: Path, value: str) -> None:
    line = refusal(path, f"[probe.net]\nenabled = {value}")
    assert "probe.net.enabled" in line
    assert "true or false" in line


def test_a_switched_off_probe_may_keep_its_settings(path: Path) -> None:
    assert "disk" not in load(path, '[probe.disk]\nenabled = false\ntypes = ["ext4"]').probes


# Unknown and wrong


@pytest.mark.parametrize(
    ("text", "where", "near"),
    [
        ("[devise]\nid = 'x'", ": ", "device"),
        ("[probes.cpu]", ": ", "probe"),
        ("[device]\nsecret_fil = 'x'", "device", "secret_file"),
        ("[broker]\nurll = 'x'", "broker", "url"),
        ("[reports]\nintervall = 5", "reports", "interval"),
        ("[probe.dsik]", "probe", "disk"),
        ("[probe.cpu]\nevry = 5", "probe.cpu", "every"),
    ],
)
def test_an_unknown_setting_names_where_it_stands_and_the_nearest_known(
    path: Path, text: str, where: str, near: str
) -> None:
    line = refusal(path, text)
    assert where in line
    assert f"did you mean {near!r}?" in line


def test_an_unknown_setting_like_no_other_names_all_known(path: Path) -> None:
    assert refusal(path, "[centre]\nzzz = 1").endswith("unknown setting 'zzz': known are url")


def test_the_inner_state_of_a_probe_is_no_setting(path: Path) -> None:
    assert "unknown setting '_last'" in refusal(path, "[probe.cpu]\n_last = {}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[device]\nid = 5", "device.id: 5 is not a text"),
        ("[device]\nid = ['d01']", "device.id: ['d01'] is not a text"),
        ("[reports]\ninterval = '60'", "reports.interval: '60' is not a number"),
        ("[reports]\ninterval = true", "reports.interval: True is not a number"),
        ("[reports]\nfolder = 1979-05-27", "reports.folder"),
        ("[probe.disk]\ntypes = 'ext4'", "probe.disk.types: 'ext4' is not a list of texts"),
        ("[probe.disk]\ntypes = ['ext4', 5]", "probe.disk.types: ['ext4', 5] is not a list of texts"),
        ("[probe.cpu]\nevery = 'often'", "probe.cpu.every: 'often' is not a number"),
        ("device = 5", "device must be a table, as in [device]"),
        ("[[broker]]\nurl = 'x'", "broker must be a table, as in [broker]"),
        ("probe = 5", "[probe] must be a table"),
        ("[probe]\ncpu = false", "probe.cpu must be a table, as in [probe.cpu]"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(path: Path, text: str, said: str) -> None:
    assert said in refusal(path, text)


@pytest.mark.parametrize("value", ["123456", "[123456]", "{ a = 123456 }"])
def test_a_refused_secret_is_not_repeated(path: Path, value: str) -> None:
    line = refusal(path, f"[device]\nsecret = {value}")
    assert "device.secret" in line
    assert "123456" not in line


# Bounds


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://centre.example:1883",
        "mqtt://192.168.1.5",
        "mqtt://localhost.evil.example",
        "mqtt://127.0.0.1@evil.example",
        "mqtt://[::2]:1883",
    ],
)
def test_an_unencrypted_broker_on_another_machine_is_refused(path: Path, url: str) -> None:
    assert "use mqtts://" in refusal(path, f'[broker]\nurl = "{url}"')


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://localhost", "localhost", 1883),
        ("mqtt://127.0.0.1:1900", "127.0.0.1", 1900),
        ("mqtt://[::1]:1900", "::1", 1900),
        ("mqtts://localhost", "localhost", 8883),
        ("mqtts://10.0.0.1:443", "10.0.0.1", 443),
    ],
)
def test_this_machine_or_an_encrypted_broker_is_accepted(path: Path, url: str, host: str, port: int) -> None:
    broker = load(path, f'[broker]\nurl = "{url}"').broker
    assert (broker.host, broker.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    ["", "centre.example", "http://centre.example", "mqtts://", "mqtts://h:port", "mqtts://h:99999", "mqtts://[::1"],
)
def test_what_is_no_broker_url_is_refused(path: Path, url: str) -> None:
    assert "give it as mqtts://host:8883" in refusal(path, f'[broker]\nurl = "{url}"')


@pytest.mark.parametrize(
    "line",
    [
        "interval = 0",
        "interval = 0.5",
        "interval = 3601",
        "interval = -60",
        "interval = nan",
        "interval = inf",
        "keep_mb = 0",
        "keep_mb = -1",
        "keep_mb = nan",
        "keep_mb = inf",
        "replay_rate = 0",
        "replay_rate = nan",
        "replay_spread = -1",
        "replay_spread = nan",
        "replay_spread = inf",
    ],
)
def test_a_number_out_of_bounds_is_refused(path: Path, line: str) -> None:
    assert line.split(" ", maxsplit=1)[0] in refusal(path, f"[reports]\n{line}")


# Files


@pytest.mark.parametrize("text", ["[device", "id = ", "id = d01", "a = 1\na = 2", "[device]\n[device]"])
def test_broken_toml_says_so_and_at_which_line(path: Path, text: str) -> None:
    line = refusal(path, text)
    assert "not valid TOML" in line
    assert "line" in line or "end of document" in line


def test_bytes_that_are_no_text_are_no_toml(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not valid TOML"):
        settings.load(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(SettingsError) as why:
        settings.load(path)
    assert str(why.value) == f"{path}: No such file or directory; name another file with --config"


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        settings.load(tmp_path)


def test_a_secret_file_holds_the_secret_without_its_newline(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "device.key"
    key.write_text("s3cret\n")
    assert load(path, f'[device]\nsecret = "other"\nsecret_file = "{key}"').secret() == "s3cret"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfd"], ids=["missing", "no text"])
def test_a_secret_file_that_can_not_be_read_is_named(path: Path, tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "device.key"
    if content is not None:
        key.write_bytes(content)
    found = load(path, f'[device]\nsecret_file = "{key}"')  # other commands work without the secret
    with pytest.raises(SettingsError) as why:
        found.secret()
    assert f"device.secret_file {key}: " in str(why.value)
    assert "\n" not in str(why.value)


@pytest.mark.parametrize("key", ["", "short", "A" * 43, "ư" * 44, "A" * 48])
def test_updates_need_the_public_key_of_whoever_signs_them(path: Path, key: str) -> None:
    assert "update.public_key: copy it" in refusal(path, f'[update]\nenabled = true\npublic_key = "{key}"')
    assert not load(path, f'[update]\npublic_key = "{key}"').update.enabled
    assert load(path, f'[update]\nenabled = true\npublic_key = "{"A" * 43}="').update.enabled
