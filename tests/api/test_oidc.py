"""Signing in through an OpenID Connect provider: a real one on loopback, honest and hostile."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from oidcserver import CLIENT, SECRET, OidcServer
from running import free_port
from sqlalchemy import select

from schoolpulse_api import oidc, signin
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.registry import Registry, grants, people
from schoolpulse_collector.registry.model import Audit, Login, Person, School, Unit

CENTRE = "https://centre.example"


@pytest.fixture(scope="module")
def running() -> Iterator[OidcServer]:
    made = OidcServer()
    yield made
    made.stop()


@pytest.fixture
def provider(running: OidcServer) -> OidcServer:
    running.lies, running.person = {}, {"sub": "42", "preferred_username": "Lan", "name": "Nguyễn Thị Lan"}
    return running


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    made.put(School(key="s1", name="Tiểu học Đống Đa"))
    with made.change("system") as change:
        change.session.add(Unit(key="w7", name="Phường 7", kind="ward"))
    yield made
    made.close()


def settings_for(issuer: str, folder: Path) -> Settings:
    (folder / "secret").write_text(f"{SECRET}\n")
    file = str(folder / "secret")
    return Settings(oidc_issuer=issuer, oidc_client_id=CLIENT, oidc_client_secret_file=file, oidc_name="Sở <GD>")


@pytest.fixture
def browser(registry: Registry, provider: OidcServer, tmp_path: Path) -> TestClient:
    return new_browser(registry, settings_for(provider.issuer, tmp_path))


def new_browser(registry: Registry, settings: Settings) -> TestClient:
    app = FastAPI()
    app.include_router(signin.router(registry, settings))
    app.include_router(oidc.router(registry, settings))
    return TestClient(app, base_url=CENTRE, follow_redirects=False)


def to_provider(browser: TestClient, onward: str = "/") -> str:
    """Go to the provider; return where it sends back to."""
    sent = browser.get("/sign-in/oidc", params={"next": onward})
    assert sent.status_code == 303, sent.text
    return httpx.get(sent.headers["location"]).headers["location"]


def come(browser: TestClient) -> httpx.Response:
    return browser.get(to_provider(browser))


def held(registry: Registry, login: str) -> list[tuple[str, str | None, str | None, str]]:
    with registry.read() as session:
        person = people.by_login(session, login)
        assert person
        return [(each.role, each.unit, each.school, each.source) for each in grants.of_person(session, person.id)]


def nobody_came_in(registry: Registry, browser: TestClient) -> bool:
    with registry.read() as session:
        strangers = list(session.scalars(select(Person))) + list(session.scalars(select(Login)))
    return not strangers and "__Host-sp" not in browser.cookies


def test_the_provider_signs_a_new_person_in_with_the_grants_it_names(
    registry: Registry, provider: OidcServer, browser: TestClient
) -> None:
    provider.person["schoolpulse"] = ["viewer", "technician@school:s1", "area_it@unit:w7"]
    assert "Đăng nhập bằng Sở &lt;GD&gt;" in browser.get("/sign-in").text
    answer = browser.get(to_provider(browser, "/device/x"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/device/x")
    assert sorted(held(registry, "lan"), key=str) == [
        ("area_it", "w7", None, "oidc"), ("technician", None, "s1", "oidc"), ("viewer", None, None, "oidc"),
    ]  # fmt: skip
    with registry.read() as session:
        login, person = people.login_of(session, browser.cookies["__Host-sp"]) or (None, None)
    assert login and person and (login.stage, person.name, person.subject) == ("full", "Nguyễn Thị Lan", "42")
    assert 'name="new"' not in browser.get("/account").text  # a password would outlive the provider's word


def test_every_sign_in_replaces_the_providers_grants_and_leaves_local_ones(
    registry: Registry, provider: OidcServer, browser: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    provider.person["schoolpulse"] = ["administrator"]
    come(browser)
    with registry.change("system") as change:
        person = people.by_login(change.session, "lan")
        assert person
        grants.grant(change, person.id, role="viewer", school="s1")
    unknown = [
        "king",
        "viewer@unit:nowhere",
        "viewer@school:",
        "viewer@",
        "viewer@planet:x",
        "viewer@unit:\x00",
        7,
        None,
        {"a": 1},
        "",
    ]
    provider.person["schoolpulse"] = ["operator", *unknown]
    assert come(browser).status_code == 303
    assert held(registry, "lan") == [("viewer", None, "s1", "local"), ("operator", None, None, "oidc")]
    assert caplog.text.count("left out") == len(unknown)
    del provider.person["schoolpulse"]
    come(browser)
    assert held(registry, "lan") == [("viewer", None, "s1", "local")]


def test_a_provider_gets_into_no_local_account_by_a_name(
    registry: Registry, provider: OidcServer, browser: TestClient
) -> None:
    with registry.change("system") as change:
        people.add(change, "lan", "Lan, local")
    come(browser), come(browser)
    with registry.read() as session:
        assert [each.login for each in people.everybody(session)] == ["lan", "lan-2"]


def test_a_deactivated_person_stays_out(registry: Registry, provider: OidcServer, browser: TestClient) -> None:
    come(browser)
    with registry.change("system") as change:
        people.deactivate(change, people.everybody(change.session)[0])
    answer = come(browser)
    assert answer.status_code == 403 and "đã bị khóa" in answer.text


HOUR_AGO = int(time.time()) - 3600


@pytest.mark.parametrize(
    "lies",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another-client"}},
        {"claims": {"aud": [CLIENT, "another-client"]}},
        {"claims": {"aud": [CLIENT, "another-client"], "azp": "another-client"}},
        {"claims": {"aud": None}},
        {"claims": {"iss": "https://another.example"}},
        {"claims": {"exp": HOUR_AGO, "iat": HOUR_AGO - 300}},
        {"claims": {"exp": None}},
        {"claims": {"iat": HOUR_AGO + 7200}},
        {"claims": {"at_hash": "wrong"}},
        {"claims": {"sub": None}},
        {"claims": {"sub": ""}},
        {"claims": {"sub": "4\x002"}},
        {"claims": {"sub": 42}},
        {"signed": "by another key"},
        {"signed": "not at all"},
        {"signed": "with our public key as a shared one"},
        {"answer": {"code": "made up"}},
        {"answer": {"iss": "https://another.example"}},
    ],
    ids=lambda change: re.sub(r"\d{10}", "T", repr(change)),  # the same names in each test process
)
def test_what_can_not_be_believed_signs_nobody_in(
    registry: Registry, provider: OidcServer, browser: TestClient, lies: dict[str, Any]
) -> None:
    provider.lies = lies
    answer = come(browser)
    assert answer.status_code == 502 and "Sở &lt;GD&gt;" in answer.text
    assert nobody_came_in(registry, browser)


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://another.example"},
        {"authorization_endpoint": "http://another.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
    ],
    ids=str,
)
def test_a_provider_that_is_not_the_one_named_is_not_gone_to(
    provider: OidcServer, browser: TestClient, discovery: dict[str, Any]
) -> None:
    provider.lies = {"discovery": discovery}
    assert browser.get("/sign-in/oidc").status_code == 502


def test_a_sign_in_that_began_elsewhere_or_ended_already_is_not_taken_up(
    registry: Registry, provider: OidcServer, browser: TestClient, tmp_path: Path
) -> None:
    back = to_provider(browser)
    victim = new_browser(registry, settings_for(provider.issuer, tmp_path))
    assert victim.get(back).status_code == 400  # an attacker's own sign-in, sent to somebody else
    to_provider(victim)
    assert victim.get(back).status_code == 400  # nor beside one of theirs
    assert browser.get(back.replace("state=", "state=x")).status_code == 400
    assert browser.get(back).status_code == 400  # one try each
    assert nobody_came_in(registry, browser) and nobody_came_in(registry, victim)


def test_a_code_is_taken_once(registry: Registry, provider: OidcServer, browser: TestClient, tmp_path: Path) -> None:
    back = to_provider(browser)
    cookie = {"cookie": f"__Host-sp-oidc={browser.cookies['__Host-sp-oidc']}"}
    assert browser.get(back).status_code == 303
    assert "__Host-sp-oidc" not in browser.cookies
    assert new_browser(registry, settings_for(provider.issuer, tmp_path)).get(back, headers=cookie).status_code == 400
    assert browser.get(back, headers=cookie).status_code == 400


def test_a_provider_that_says_no_or_is_away_is_a_page_that_says_so(
    registry: Registry, provider: OidcServer, browser: TestClient, tmp_path: Path
) -> None:
    state = to_provider(browser).partition("state=")[2]
    refused = browser.get("/sign-in/oidc/callback", params={"error": "access_denied", "state": state})
    assert refused.status_code == 403 and "không cho phép" in refused.text
    away = new_browser(registry, settings_for(f"http://127.0.0.1:{free_port()}", tmp_path))
    assert away.get("/sign-in/oidc").status_code == 502


def test_no_secret_of_it_is_logged_audited_or_sent_to_the_browser(
    registry: Registry, provider: OidcServer, browser: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "schoolpulse_api")
    provider.issued.clear()
    sent = browser.get("/sign-in/oidc")
    pages = [sent.text, str(sent.headers)]
    pages.append(browser.get(httpx.get(sent.headers["location"]).headers["location"]).text)
    provider.lies = {"signed": "by another key"}
    pages.append(come(browser).text)
    with registry.read() as session:
        rows = [f"{row.actor} {row.subject} {row.detail}" for row in session.scalars(select(Audit))]
    told = "\n".join([*rows, *pages, caplog.text])
    assert "BadSignature" in told and len(provider.issued) == 4
    assert [each for each in [*provider.issued, SECRET, browser.cookies["__Host-sp"]] if each in told] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"oidc_issuer": "http://login.example", "oidc_client_id": "x"}, "https://"),
        ({"oidc_issuer": "https://login.example"}, "oidc_client_id"),
        ({"oidc_issuer": "https://a", "oidc_client_id": "x", "oidc_client_secret_file": "/nowhere"}, "/nowhere"),
    ],
)
def test_settings_that_can_not_work_are_told_at_the_start(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        oidc.from_settings(Settings(**given))


def test_without_a_provider_there_is_no_such_way_in(registry: Registry) -> None:
    browser = new_browser(registry, Settings())
    assert browser.get("/sign-in/oidc").status_code == 404
    assert "oidc" not in browser.get("/sign-in").text
