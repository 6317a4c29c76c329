"""What strangers, and people who may do little, try: sizes, odd values, ends of rights, floods."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api.centres import Office
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from schoolpulse_api.access import Access
from schoolpulse_api.browser import network
from schoolpulse_api.view import Missing, View
from schoolpulse_collector import certificate
from schoolpulse_collector.registry import grants, people, tokens
from schoolpulse_collector.registry.model import RevokedCertificate
from schoolpulse_collector.registry.rights import Rights

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def administrator(office: Office) -> Iterator[httpx.Client]:
    with office.client(office.token("administrator")) as client:
        yield client


def test_a_stranger_can_send_no_more_than_a_megabyte(office: Office) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"a" * 2**16

    with office.client() as client:
        assert client.post("/api/v1/enrol", content=b'"' + b"a" * 2**21, headers=JSON).status_code == 413
        with contextlib.suppress(httpx.WriteError):  # the connection may close before all was sent
            assert client.post("/api/v1/enrol", content=endless(), headers=JSON).status_code == 413


def test_a_viewer_can_upload_no_endless_file(office: Office) -> None:
    with office.client(office.token("viewer", school="s1")) as client:
        files = {"file": ("a.csv", b"a" * (22 * 2**20))}
        assert client.post("/api/v1/org/import", files=files).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/v1/people", '{"login": "a\\ud800b", "name": "x"}', 422),
        ("POST", "/api/v1/enrol", '{"token": "\\ud800", "hardware": {}}', 422),
        ("POST", "/api/v1/enrol", "[" * 100_000, 400),
        ("POST", "/api/v1/api-tokens", '{"label": "x", "days": NaN, "grants": [{"role": "viewer"}]}', 422),
        ("POST", "/api/v1/devices/d1/move", '{"school": "nowhere"}', 404),
        ("POST", "/api/v1/devices/d1/move", '{"school": ""}', 422),
        ("PATCH", "/api/v1/devices/d1", '{"room": "nowhere"}', 400),
        ("PATCH", "/api/v1/devices/d1", '{"room": ""}', 422),
        ("PATCH", "/api/v1/devices/d1", '{"kind": "pc\\n, x=1"}', 422),
        ("DELETE", f"/api/v1/schools/s1/tokens/{2**70}", "", 422),
    ],
)
def test_odd_values_are_refused_not_stumbled_over(
    administrator: httpx.Client, method: str, path: str, body: str, status: int
) -> None:
    assert administrator.request(method, path, content=body, headers=JSON).status_code == status


def test_what_is_wrong_with_a_message_is_told_without_what_was_sent(office: Office) -> None:
    with office.client() as client:
        answer = client.post("/api/v1/rekey", json={"device": "d1", "secret": ["geheim"], "hardware": {}})
    assert answer.status_code == 422 and "secret" in answer.text and "geheim" not in answer.text


def test_an_open_page_shows_nothing_more_of_a_device_once_the_right_ended(office: Office) -> None:
    access, text = Access(office.registry, "Asia/Ho_Chi_Minh"), office.token("viewer", school="s1")
    view = View(office.centre, access, ("token", text))
    device = view.device("d1")
    view.presence(device), view.latest(device)
    with office.registry.change("system") as change:
        row = tokens.find(change.session, text)
        assert row
        grants.withdraw(change, grants.of_token(change.session, row.id)[0].id)
    access.forget()
    for look in (view.presence, view.latest):
        with pytest.raises(Missing):
            look(device)


def test_who_looked_before_a_change_does_not_bring_back_the_old_rights(office: Office) -> None:
    class Slow(Access):
        def _look(self, kind: str, secret: str):  # type: ignore[no-untyped-def]
            found = super()._look(kind, secret)
            self.forget()  # somebody's rights change at this very moment
            return found

    access, text = Slow(office.registry, "Asia/Ho_Chi_Minh"), office.token("viewer", school="s1")
    assert access.caller("token", text)
    assert not access._known


def test_what_strangers_show_takes_no_memory_by_its_length(office: Office) -> None:
    access = Access(office.registry, "Asia/Ho_Chi_Minh")
    assert access.caller("token", "x" * 60_000) is None
    assert all(len(key) == 64 for _, key in access._known)


def test_the_centres_own_audit_is_for_administrators(office: Office, administrator: httpx.Client) -> None:
    assert administrator.post("/api/v1/people", json={"login": "mai", "name": "Mai"}).status_code == 201
    administrator.patch("/api/v1/devices/d1", json={"name": "PC-77"})
    assert "" in {each["school"] for each in administrator.get("/api/v1/audit").json()["items"]}
    for role in ("area_it", "operator"):
        with office.client(office.token(role)) as client:
            found = {each["school"] for each in client.get("/api/v1/audit").json()["items"]}
            assert found and "" not in found
            assert client.get("/api/v1/audit", params={"subject": "person:mai"}).json()["items"] == []


def test_a_move_is_told_in_both_schools(office: Office, administrator: httpx.Client) -> None:
    assert administrator.post("/api/v1/devices/d2/move", json={"school": "s1"}).status_code == 200
    assert administrator.post("/api/v1/devices/d2/move", json={"school": "s2", "room": "r2"}).status_code == 200
    for school in ("s1", "s2"):
        with office.client(office.token("area_it", school=school)) as client:
            rows = client.get("/api/v1/audit", params={"subject": "device:d2"}).json()["items"]
            assert [row["action"] for row in rows].count("device.alter") == 2, school


def test_a_link_for_a_forgotten_password_ends_the_sessions(office: Office, administrator: httpx.Client) -> None:
    with office.registry.change("system") as change:
        person = people.add(change, "tam", "Tâm")
        text = people.open_login(change, person, "full", "")
    assert administrator.post(f"/api/v1/people/{person.id}/link").status_code == 201
    with office.registry.read() as session:
        assert people.login_of(session, text) is None


def test_a_device_can_not_fill_the_list_of_revoked_certificates(office: Office) -> None:
    key = certificate.new_key()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    secret = office.registry.enrol("d3", "s1", "r1", "PC-03", "lab_pc")
    asked = {"device": "d3", "secret": secret, "csr": csr.public_bytes(Encoding.PEM).decode()}
    with office.client() as client:
        answers = [client.post("/api/v1/renew", json=asked) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) > 0
    with office.registry.read() as session:
        assert session.query(RevokedCertificate).filter_by(device="d3").count() == 9


def test_an_ipv6_network_is_one_address() -> None:
    asked = [type("Asked", (), {"client": type("Client", (), {"host": f"2001:db8::{n:x}"})}) for n in range(3)]
    assert len({network(each) for each in asked}) == 1  # type: ignore[arg-type]


def test_who_is_refused_too_often_is_told_to_wait_and_a_good_token_then_too(tmp_path: Path) -> None:
    office = Office(tmp_path)
    try:
        with office.client() as client:
            body = {"token": "spe_guessed", "hardware": {}}
            answers = [client.post("/api/v1/enrol", json=body) for _ in range(31)]
            assert [answer.status_code for answer in answers] == [403] * 30 + [429]
            assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    finally:
        office.close()


def test_a_database_that_is_away_is_503_before_any_route_too(tmp_path: Path) -> None:
    office = Office(tmp_path / "office")
    try:
        token, file = office.token("administrator"), tmp_path / "office" / "registry.sqlite"
        office.registry.engine.dispose()
        file.rename(tmp_path / "hidden")
        file.mkdir()
        with office.client(token) as client:
            answer = client.get("/api/v1/devices")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert client.get("/healthz").status_code == 200
        file.rmdir()
        (tmp_path / "hidden").rename(file)
    finally:
        office.close()


def test_the_registrys_file_is_its_owners_alone(office: Office) -> None:
    for file in office.settings.home.glob("registry.sqlite*"):
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_a_token_with_the_longest_label_is_an_actor_that_the_audit_can_keep(administrator: httpx.Client) -> None:
    made = administrator.post("/api/v1/api-tokens", json={"label": "x" * 200, "grants": [{"role": "viewer"}]})
    assert made.status_code == 201 and len(f"token:{made.json()['label']}") <= 200


def test_rights_that_are_none_are_none() -> None:
    none = Rights()
    assert not none.may("viewer") and not none.may("viewer", "s1") and not none.anywhere("viewer")
    assert none.places("viewer") == frozenset()
