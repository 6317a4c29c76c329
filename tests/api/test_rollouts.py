"""Rollouts by API and by command: begun with a package that lies here as signed, told with how the machines fare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api.centres import Office
from packages import Maker

from schoolpulse_agent.wire import Presence
from schoolpulse_api.__main__ import main


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "home", authority=False)
    yield made
    made.close()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "maker")


def command(office: Office, *said: object) -> int:
    return main(["--home", str(office.settings.home), "rollout", *map(str, said)])


def say(office: Office, device: str, agent: str, refused: str = "") -> None:
    said = Presence("online", "session", agent=agent, refused=refused)
    office.presence.said(device, said)
    office.fleet.said(device, said)


def offered(office: Office, device: str) -> dict[str, Any] | None:
    office.followed()
    return office.steering.wanted(device).update


def test_a_rollout_from_its_start_to_its_withdrawal(office: Office, maker: Maker) -> None:
    manifest, body = maker.make("0.2.0")
    asked = {"package": manifest._asdict(), "pilots": ["s1"], "waves": [50, 100], "hours": 2}
    with office.client(office.token("administrator")) as client:
        refused = client.post("/api/v1/rollouts", json=asked)
        assert refused.status_code == 400 and "can't be read" in refused.json()["detail"]
        folder = office.settings.home / "packages"
        folder.mkdir()
        (folder / "schoolpulse-agent-0.2.0.zip").write_bytes(body[:-1])
        refused = client.post("/api/v1/rollouts", json=asked)
        assert refused.status_code == 400 and "not the one that was signed" in refused.json()["detail"]
        (folder / "schoolpulse-agent-0.2.0.zip").write_bytes(body)
        begun = client.post("/api/v1/rollouts", json=asked)
        assert begun.status_code == 201
        assert begun.json() | {"id": 0, "since": 0, "devices": {}} == {
            "id": 0, "version": "0.2.0", "state": "running", "waves": [50, 100], "pilots": ["s1"], "wave": 0,
            "since": 0, "hours": 2, "why": "", "devices": {},
        }  # fmt: skip
        assert (offered(office, "d1"), offered(office, "d2")) == (manifest._asdict(), None)
        say(office, "d1", "0.2.0")
        assert client.get("/api/v1/rollouts").json()[0]["devices"]["updated"] == 1
        number = begun.json()["id"]
        assert client.post(f"/api/v1/rollouts/{number}/pause", json={"why": "thi"}).json()["why"] == "thi"
        assert offered(office, "d1") is None
        assert client.post(f"/api/v1/rollouts/{number}/resume").json()["state"] == "running"
        assert client.post(f"/api/v1/rollouts/{number}/withdraw", json={"why": "hỏng"}).json()["state"] == "withdrawn"
        assert offered(office, "d1") == {"version": "0.2.0", "withdrawn": True}
        assert client.post(f"/api/v1/rollouts/{number}/resume").status_code == 400
        assert client.post("/api/v1/rollouts/99/pause").status_code == 400
        told = [row["action"] for row in client.get("/api/v1/audit").json()["items"]]
    assert [f"rollout.{what}" for what in ("withdrawn", "running", "paused", "start")] == told[:4]


@pytest.mark.parametrize(
    "change",
    [{"version": "../x"}, {"sha256": "x"}, {"size": 0}, {"python": "2.7"}, {"signature": "?"}, {"signature": None}],
)
def test_what_is_no_manifest_is_refused(office: Office, maker: Maker, change: dict[str, object]) -> None:
    asked = {"package": {**maker.make("0.2.0")[0]._asdict(), **change}}
    with office.client(office.token("administrator")) as client:
        assert client.post("/api/v1/rollouts", json=asked).status_code == 422


def test_the_commands_copy_the_package_and_tell_how_it_goes(
    office: Office, maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, body = maker.make("0.2.0")
    zipped = maker.folder / "schoolpulse-agent-0.2.0.zip"
    assert command(office, "status") == 0 and "no rollout yet" in capsys.readouterr().out
    assert command(office, "pause") == 1 and "there is no rollout" in capsys.readouterr().err
    assert command(office, "start", zipped, "--pilot", "s2", "--hours", "1") == 0
    assert "0.2.0: đang đưa ra · running, 1/4 (trường thử · pilots)" in capsys.readouterr().out
    assert (office.settings.home / "packages" / zipped.name).read_bytes() == body
    assert (offered(office, "d1"), offered(office, "d2")) == (None, manifest._asdict())
    assert command(office, "start", zipped) == 1 and "is on its way" in capsys.readouterr().err
    assert command(office, "pause") == command(office, "resume") == 0
    say(office, "d2", "0.2.0")
    say(office, "d1", "0.1.0", "agent 0.2.0 it can't run here")
    assert office.fleet._keep() is False
    assert command(office, "withdraw", "--why", "hỏng") == 0
    capsys.readouterr()
    assert command(office, "status") == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert row.split()[0] == "0.2.0" and "đã thu hồi" in row and "hỏng" in row
    at = head.index("MÁY CHẠY")
    assert row[at:].split()[:2] == ["1", "1"]


@pytest.mark.parametrize("fault", ["no signature", "another file", "no JSON"])
def test_a_package_that_is_not_as_signed_is_not_begun_with(
    office: Office, maker: Maker, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    maker.make("0.2.0")
    zipped = maker.folder / "schoolpulse-agent-0.2.0.zip"
    signature = zipped.with_name(zipped.name + ".sig")
    if fault == "no signature":
        signature.unlink()
    elif fault == "another file":
        zipped.write_bytes(zipped.read_bytes() + b"\0")
    else:
        signature.write_text("{")
    assert command(office, "start", zipped) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (office.settings.home / "packages" / zipped.name).exists()


def test_packages_are_handed_out_to_whoever_asks_and_nothing_else_is(office: Office, maker: Maker) -> None:
    _, body = maker.make("0.2.0")
    assert command(office, "start", maker.folder / "schoolpulse-agent-0.2.0.zip") == 0
    (office.settings.home / "packages" / "notes.txt").write_text("secret")
    (office.settings.home / "schoolpulse-agent-0.3.0.zip").write_text("secret")
    with office.client() as client:
        answer = client.get("/packages/schoolpulse-agent-0.2.0.zip")
        assert (answer.status_code, answer.content) == (200, body)
        for name in (
            "notes.txt", "schoolpulse-agent-0.3.0.zip", "..%2Fschoolpulse-agent-0.3.0.zip", "schoolpulse-agent-..zip",
            "0.2.0", "schoolpulse-agent-0.2.0.zip.sig", "..%2Fregistry.sqlite", "schoolpulse-agent-0.2.0.zip%00",
        ):  # fmt: skip
            assert client.get(f"/packages/{name}").status_code in (401, 404), name
