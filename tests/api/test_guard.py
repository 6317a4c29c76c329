"""The guard, by session: whose page asks, what an unfinished sign-in may, web sockets, odd paths and methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from api.centres import Office
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from schoolpulse_api.access import Access
from schoolpulse_api.view import Forbidden, Missing, SignedOut, View
from schoolpulse_collector.registry import Change, devices, grants, people, tokens
from schoolpulse_collector.registry.model import Device

ZONE = "Asia/Ho_Chi_Minh"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    yield made
    made.close()


def session(office: Office, stage: str = "full") -> str:
    """The text of a new administrator's session."""
    with office.registry.change("system") as change:
        person = people.add(change, f"p{len(people.everybody(change.session))}", "Ai đó")
        grants.grant(change, person.id, role="administrator")
        return people.open_login(change, person, stage, "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_cookie_changes_things_from_our_own_pages_only(office: Office, headers: dict[str, str], status: int) -> None:
    with office.client(Cookie=f"sp_session={session(office)}", **headers) as client:
        assert client.get("/api/v1/devices").status_code == 200
        assert client.patch("/api/v1/devices/d1", json={"name": "PC 5"}).status_code == status


def test_a_bad_token_is_not_helped_by_a_cookie_beside_it(office: Office) -> None:
    cookie = f"sp_session={session(office)}"
    for shown in ("Bearer spk_no", "Bearer", "Basic YTpi", "Bearer \xff"):
        headers = [(b"Cookie", cookie.encode()), (b"Authorization", shown.encode("latin-1"))]
        assert httpx.get(f"{office.url}/api/v1/devices", headers=headers).status_code == 401, shown


@pytest.mark.parametrize(("stage", "place"), [("code", "/sign-in/code"), ("setup", "/account")])
def test_a_sign_in_that_lacks_something_opens_nothing_else(office: Office, stage: str, place: str) -> None:
    text = session(office, stage)
    with office.client(Cookie=f"sp_session={text}") as client:
        for path in ("/api/v1/devices", "/api/v1/people", "/docs", "/openapi.json", "/metrics"):
            assert client.get(path).status_code == 401, path
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Location"]) == (303, place)
    view = View(office.centre, Access(office.registry, ZONE), ("session", text))
    with pytest.raises(SignedOut):
        view.schools()


def test_web_sockets_open_for_our_own_pages_and_for_somebody_known_only(office: Office) -> None:
    url = office.url.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    good, unfinished = f"sp_session={session(office)}", f"sp_session={session(office, 'code')}"
    for cookie, origin in (
        (good, None),
        (good, "https://evil.test"),
        (good, "null"),
        ("", office.url),
        ("sp_session=x", office.url),
        (unfinished, office.url),
    ):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, origin=origin, additional_headers={"Cookie": cookie}).close()  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403, (cookie, origin)
    connect(url, origin=office.url, additional_headers={"Cookie": good}).close()  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/api/v1/devices", "/", "/docs", "/_nicegui/x", "/_nicegui_ws/socket.io/"])
def test_no_method_gets_a_stranger_anywhere(office: Office, method: str, path: str) -> None:
    with office.client() as client:
        assert client.request(method, path).status_code in (401, 403)


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/devices",
        "/healthz/../api/v1/devices",
        "/healthz/%2e%2e/api/v1/devices",
        "/healthz%2f..%2fapi/v1/devices",
        "/sign-in/../api/v1/devices",
        "/language/../api/v1/devices",
        "/language/%2e%2e/api/v1/devices",
        "/healthz;/api/v1/devices",
        "/API/v1/devices",
        "/api/v1/devices/",
        "/api/v1/devices;",
        "/api/v1/devices%00",
        "/healthz%23/api/v1/devices",
    ],
)
def test_no_path_gets_a_stranger_to_devices(office: Office, path: str) -> None:
    raw = httpx.URL(office.url).copy_with(raw_path=path.encode())
    answer = httpx.get(raw)
    assert answer.status_code in (303, 401, 404) and "PC-01" not in answer.text


def test_a_device_that_moved_meanwhile_is_not_changed_with_the_rights_of_its_old_school(office: Office) -> None:
    view = View(office.centre, Access(office.registry, ZONE), ("token", office.token("technician", school="s1")))
    view.device = lambda _: Device(id="d2", school="s1")  # type: ignore[method-assign] # as it was a moment ago
    with pytest.raises(Missing), view.change_device("technician", "d2"):
        raise AssertionError("changed")


def test_a_right_that_ended_while_a_change_waited_for_its_turn_is_none(office: Office) -> None:
    access, text = Access(office.registry, ZONE), office.token("technician", school="s1")

    @contextmanager
    def after_a_wait(by: str) -> Iterator[Change]:
        with office.registry.change("system") as change:
            row = tokens.find(change.session, text)
            assert row
            grants.withdraw(change, grants.of_token(change.session, row.id)[0].id)
        access.forget()
        with office.registry.change(by) as change:
            yield change

    slow = SimpleNamespace(change=after_a_wait)
    view = View(dataclasses.replace(office.centre, registry=slow), access, ("token", text))  # type: ignore[type-var]
    with pytest.raises((Missing, Forbidden)), view.change("technician", "s1"):
        raise AssertionError("changed")


def test_a_wrong_secret_or_a_device_that_is_revoked_or_retired_gets_no_certificate(office: Office) -> None:
    with office.client() as client:
        for asked in ({"device": "d1", "secret": office.secrets["d2"]}, {"device": "nobody", "secret": ""}):
            assert client.post("/api/v1/renew", json={**asked, "csr": "x"}).status_code == 403
        asked = {"device": "d1", "secret": office.secrets["d1"]}
        assert client.post("/api/v1/renew", json={**asked, "csr": "x"}).status_code == 400
    for status in ("revoked", "retired"):
        secret = office.registry.enrol(f"x-{status}", "s1", "r1", "PC-09", "lab_pc")
        with office.registry.change("system") as change:
            devices.set_status(change, f"x-{status}", status)
        with office.client() as client:
            asked = {"device": f"x-{status}", "secret": secret}
            assert client.post("/api/v1/renew", json={**asked, "csr": "x"}).status_code == 403
            assert client.post("/api/v1/rekey", json={**asked, "hardware": {}}).status_code == 403
