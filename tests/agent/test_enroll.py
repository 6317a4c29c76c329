"""Enrolment at a centre that checks every message: whom a machine trusts, what it says, what it makes of answers."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fakecentre import FakeCentre
from running import free_port

from schoolpulse_agent import centre as asking
from schoolpulse_agent import enroll, identity, settings
from schoolpulse_agent.centre import EnrolFailed

MACS = ("3c:58:c2:00:00:01", "54:bf:64:00:00:02")
UUID = "4c4c4544-0058-4b10-8032-b7c04f503133"
PC = identity.Hardware(UUID, "7XK2P13", "Dell Inc.", "OptiPlex 3080", MACS, identity.fingerprint(MACS, UUID))
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    made = FakeCentre()
    yield made
    made.close()


def failure(url: str, token: str) -> EnrolFailed:
    with pytest.raises(EnrolFailed) as why:
        enroll.enroll(url, token, PC, "PC-07")
    assert "\n" not in str(why.value)
    assert token not in str(why.value)
    return why.value


# The conversation


def test_a_token_gives_an_identity_and_the_centre_learns_which_machine_it_is(centre: FakeCentre) -> None:
    answer = enroll.enroll(centre.url, centre.token, PC, "PC-07")
    ((path, said),) = centre.asked
    assert path == "/api/v1/enrol"
    assert (said["name"], said["hardware"]) == ("PC-07", json.loads(json.dumps(dataclasses.asdict(PC))))
    assert (answer.secret, answer.certificate) == (centre.devices[answer.device], None)
    assert (answer.school, answer.room, answer.name) == ("thcs-lac-hong", "phong-may-1", "PC-07")
    assert answer.broker == "mqtts://localhost:8883"


def test_a_certificate_is_for_a_key_that_never_left_the_machine(centre: FakeCentre) -> None:
    request = enroll.new_request()
    answer = enroll.enroll(centre.url, centre.token, PC, "", request)
    assert answer.certificate
    key = serialization.load_pem_private_key(request.key.encode(), None)
    assert x509.load_pem_x509_certificate(answer.certificate.encode()).public_key() == key.public_key()
    assert b"PRIVATE" not in centre.received
    assert "name" not in centre.asked[0][1]


def test_a_certificate_for_another_key_is_refused(centre: FakeCentre) -> None:
    other = centre.certify(enroll.new_request().csr, "d1")
    identity_ = {"device": "d1", "secret": "x", "school": "s", "room": None, "name": "n", "certificate": other}
    body = {**identity_, "broker": {"url": "mqtts://h"}, "ca": centre.ca_pem}
    centre.instead["/api/v1/enrol"] = (201, {}, json.dumps(body).encode())
    with pytest.raises(EnrolFailed, match="for another key"):
        enroll.enroll(centre.url, centre.token, PC, "", enroll.new_request())


@pytest.mark.parametrize("by", ["a character of the fingerprint", "another centre"])
def test_a_centre_that_the_token_does_not_name_never_sees_it(centre: FakeCentre, by: str) -> None:
    token = centre.token[:-1] + ("0" if centre.token[-1] != "0" else "1")
    if by == "another centre":
        token = centre.token[:37] + "ab" * 32
    why = failure(centre.url, token)
    assert "not the centre of this token" in str(why) and "was not sent" in str(why) and not why.retry
    assert b"spe_" not in centre.received and centre.received.startswith(b"GET /ca.pem")


def test_somebody_in_between_who_shows_the_right_ca_but_has_not_its_key_never_sees_the_token(
    centre: FakeCentre,
) -> None:
    between = FakeCentre(ca=trustme.CA(), shown=centre.ca_pem)
    why = failure(between.url, centre.token)
    assert "not from the centre's CA" in str(why) and "nothing was sent" in str(why) and not why.retry
    assert b"spe_" not in between.received
    between.close()


def test_a_centre_under_another_name_never_sees_the_token() -> None:
    centre = FakeCentre(name="centre.example")
    why = failure(centre.url, centre.token)
    assert "for another name" in str(why) and not why.retry
    assert b"spe_" not in centre.received
    centre.close()


def test_an_answer_with_another_ca_than_the_tokens_is_refused(centre: FakeCentre) -> None:
    centre.ca_pem, other = centre.ca_pem, trustme.CA().cert_pem.bytes().decode()
    body = {"device": "d1", "secret": "x", "school": "s", "name": "n", "broker": {"url": "mqtts://h"}, "ca": other}
    centre.instead["/api/v1/enrol"] = (201, {}, json.dumps(body).encode())
    assert "another CA certificate" in str(failure(centre.url, centre.token))


def test_no_redirect_is_followed(centre: FakeCentre) -> None:
    elsewhere = FakeCentre(tls=False)
    centre.instead["/api/v1/enrol"] = (307, {"Location": f"{elsewhere.url}/api/v1/enrol"}, b"")
    assert "HTTP 307" in str(failure(centre.url, centre.token))
    assert elsewhere.received == b""
    elsewhere.close()


@pytest.mark.parametrize(
    ("reply", "said", "retry"),
    [
        ((403, {}, b'{"detail": "no"}'), "ask the centre for a new one", False),
        ((422, {}, b'{"detail": "macs: too many"}'), "update the agent or the centre (macs: too many)", False),
        ((422, {}, b'{"detail": [{"input": "spe_secret"}]}'), "update the agent or the centre", False),
        ((429, {"Retry-After": "120"}, b""), "try again in 120 s", True),
        ((429, {"Retry-After": "Wed, 21 Oct 2026"}, b""), "try again in 60 s", True),
        ((500, {}, b"oops"), "try again later", True),
        ((503, {}, b'{"detail": "the registry is \x1b[31m down"}'), "HTTP 503: the centre", True),
        ((404, {}, b""), "is this the centre's address?", False),
        ((201, {}, b"<html>"), "something else than JSON", False),
        ((201, {}, b"[" * 60_000), "something else than JSON", False),
        ((201, {}, b"[1]"), "something else than JSON", False),
        ((201, {}, b" " * 70_000), "more than 65536 bytes", False),
        ((201, {}, b"{}"), "not what this agent understands", False),
    ],
)
def test_what_goes_wrong_says_what_to_do_and_whether_time_can_help(
    centre: FakeCentre, reply: tuple[int, dict[str, str], bytes], said: str, retry: bool
) -> None:
    centre.instead["/api/v1/enrol"] = reply
    why = failure(centre.url, centre.token)
    assert said.replace("HTTP 503: the centre", "in trouble, HTTP 503") in str(why)
    assert why.retry is retry
    assert str(why).isprintable() and "spe_" not in str(why)


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "../d1"},
        {"device": ""},
        {"device": 7},
        {"school": "a/b"},
        {"secret": ""},
        {"secret": "a\nb"},
        {"secret": None},
        {"name": ["x"]},
        {"broker": "mqtts://h"},
        {"broker": {}},
        {"broker": {"url": "mqtt://elsewhere.example"}},
        {"broker": {"url": 'mqtts://h"\n[x]'}},
        {"ca": "no certificate"},
        {"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
        {"ca": None},
    ],
)
def test_an_answer_that_is_wrong_in_one_field_is_refused_as_a_whole(centre: FakeCentre, wrong: dict) -> None:
    body = {"device": "d1", "secret": "x", "school": "s", "name": "n", "broker": {"url": "mqtts://h"}}
    said = json.dumps({**body, "ca": centre.ca_pem, **wrong}).encode()
    centre.instead["/api/v1/enrol"] = (201, {}, said)
    assert not failure(centre.url, centre.token).retry


@pytest.mark.parametrize("token", ["spe_short", "x" * 101, "spe_" + "a" * 32 + "." + "g" * 64])
def test_half_a_token_is_noticed_before_anything_is_sent(centre: FakeCentre, token: str) -> None:
    assert "whole token" in str(failure(centre.url, token))
    assert centre.received == b""


@pytest.mark.parametrize(
    "url", ["http://centre.example", "ftp://localhost", "centre.example:8443", "https://", "https://a@b", "https://h:x"]
)
def test_only_https_is_an_address_of_a_centre(centre: FakeCentre, url: str) -> None:
    assert "give it as https://host:port" in str(failure(url, centre.token))


def test_plain_http_is_for_this_machine_alone() -> None:
    centre = FakeCentre(tls=False)
    assert enroll.enroll(centre.url, centre.token, PC, "PC-07").name == "PC-07"
    centre.close()


def test_a_centre_that_is_away_is_tried_again_later(centre: FakeCentre) -> None:
    why = failure(f"https://localhost:{free_port()}", centre.token)
    assert "can't be reached" in str(why) and why.retry


def test_a_centre_that_accepts_and_says_nothing_holds_up_no_longer_than_the_bound(
    centre: FakeCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        why = failure(f"https://127.0.0.1:{mute.getsockname()[1]}", centre.token)
    assert "can't be reached" in str(why) and why.retry


def test_rekey_and_renew_show_the_secret_and_trust_the_known_ca(centre: FakeCentre) -> None:
    centre.rekeys["d1"], now = "d9", int(time.time() * 1000)
    request = enroll.new_request()
    pem = enroll.renew(centre.url, "d1", "old", centre.ca_pem, now, request)
    assert "BEGIN CERTIFICATE" in pem
    answer = enroll.rekey(centre.url, "d1", "old", PC, centre.ca_pem, now, request)
    assert answer.device == "d9" and answer.certificate
    with pytest.raises(EnrolFailed, match="not from the centre's CA"):
        enroll.renew(centre.url, "d1", "old", None, now, request)
    with pytest.raises(EnrolFailed, match="ask the centre, or enrol") as why:
        enroll.rekey(centre.url, "d1", "old", PC, centre.ca_pem, now, request)
    assert why.value.status == 403


# The command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "agent.toml"


@pytest.fixture
def run(config: Path, tmp_path: Path) -> Run:
    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "schoolpulse_agent", "--config", str(config), *arguments]
        spoken = {**os.environ, "SCHOOLPULSE_LANG": "en"}
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", input=given, timeout=60, cwd=tmp_path, env=spoken
        )

    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_enroll_writes_what_run_needs_and_says_in_both_languages_what_next(
    centre: FakeCentre, run: Run, config: Path
) -> None:
    ended = run("enroll", centre.url, centre.token, "--name", "PC-07", "--certificate")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Đã đăng ký máy PC-07" in ended.stdout and "Enrolled PC-07" in ended.stdout
    assert f"schoolpulse-agent --config {config} check" in ended.stdout
    found = settings.load(config)
    assert centre.devices[found.device.id] == found.secret() and found.secret() not in ended.stdout
    assert (found.device.school, found.broker.url, found.centre.url) == ("thcs-lac-hong", centre.broker, centre.url)
    folder = config.parent
    assert found.ca_file() == str(folder / "ca.pem")
    assert found.certificate() == (str(folder / "device.pem"), str(folder / "device.key"))
    assert (mode(folder / "secret"), mode(folder / "device.key")) == (0o600, 0o600)
    names = ["agent.toml", "ca.pem", "device.key", "device.pem", "secret"]
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("way", ["link", "link on standard input", "token on standard input"])
def test_the_link_of_a_qr_code_is_enough_and_a_token_need_not_stand_in_the_process_list(
    centre: FakeCentre, run: Run, config: Path, way: str
) -> None:
    link = f"{centre.url}/enrol#{centre.token}"
    if way == "link":
        ended = run("enroll", link)
    elif way == "link on standard input":
        ended = run("enroll", "-", given=link + "\r\n")
    else:
        ended = run("enroll", centre.url, "-", given=centre.token + "\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert settings.load(config).centre.url == centre.url
    assert not (config.parent / "device.key").exists()


def test_a_machine_that_is_enrolled_asks_for_force_before_it_spends_the_token(
    centre: FakeCentre, run: Run, config: Path
) -> None:
    config.parent.mkdir()
    config.write_text(
        '# ours\n[device]\nid = "d1"\nschool = "s"\nsecret = "old"\n\n# often\n[reports]\ninterval = 30\n'
    )
    ended = run("enroll", centre.url, centre.token)
    assert ended.returncode == 2
    assert "enrolled already, as d1" in ended.stderr and "--force" in ended.stderr
    assert centre.received == b""
    assert run("enroll", centre.url, centre.token, "--force").returncode == 0
    found = settings.load(config)
    assert found.device.id in centre.devices and found.device.id != "d1" and found.reports.interval == 30
    assert "# ours" in config.read_text() and "# often\n[reports]" in config.read_text()
    assert '"old"' not in config.read_text()


def test_a_second_identity_comes_in_files_of_its_own_and_the_old_ones_go(
    centre: FakeCentre, run: Run, config: Path
) -> None:
    assert run("enroll", centre.url, centre.token, "--certificate").returncode == 0
    centre.tokens.add(centre.token)
    assert run("enroll", centre.url, centre.token, "--force").returncode == 0
    found = settings.load(config)
    assert centre.devices[found.device.id] == found.secret()
    names = ["agent.toml", "ca.pem", f"secret-{found.device.id}"]
    assert sorted(path.name for path in config.parent.iterdir()) == names


def test_a_place_that_can_not_be_written_is_found_out_before_the_token_is_spent(
    centre: FakeCentre, run: Run, config: Path
) -> None:
    config.parent.write_text("a file where the folder should be")
    ended = run("enroll", centre.url, centre.token)
    assert ended.returncode == 1 and str(config.parent) in ended.stderr and "Traceback" not in ended.stderr
    assert centre.received == b""


@pytest.mark.parametrize("text", ["[reports]\nintervall = 1\n", 'device.id = ""\n[reports]\ninterval = 9\n', "= ="])
def test_settings_that_can_not_be_kept_are_found_out_before_the_token_is_spent(
    centre: FakeCentre, run: Run, config: Path, text: str
) -> None:
    config.parent.mkdir()
    config.write_text(text)
    ended = run("enroll", centre.url, centre.token)
    assert ended.returncode == 2 and str(config) in ended.stderr and "Traceback" not in ended.stderr
    assert config.read_text() == text and centre.received == b""


def test_a_spent_token_exits_1_with_one_line_and_leaves_nothing(centre: FakeCentre, run: Run, config: Path) -> None:
    centre.tokens.clear()
    ended = run("enroll", centre.url, centre.token)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert "ask the centre for a new one" in line
    assert list(config.parent.iterdir()) == []


def test_without_the_extra_a_certificate_is_refused_before_the_token_is_spent(
    centre: FakeCentre, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "schoolpulse_agent", "--config", str(config)]
    ended = subprocess.run(
        [*command, "enroll", centre.url, centre.token, "--certificate"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert ended.returncode == 1 and "schoolpulse-agent[mtls]" in ended.stderr
    assert centre.received == b""


def test_root_leaves_the_files_to_the_owner_of_the_folder(centre: FakeCentre, run: Run, config: Path) -> None:
    config.parent.mkdir()
    owner = 12345 if os.geteuid() == 0 else os.geteuid()
    os.chown(config.parent, owner, -1)
    assert run("enroll", centre.url, centre.token).returncode == 0
    assert {path.stat().st_uid for path in config.parent.iterdir()} == {owner}
