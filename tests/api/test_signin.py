"""Signing in and one's own account: the real routes over a real registry; once in a real browser."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyotp
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient
from playwright.sync_api import Page, sync_playwright
from running import free_port, wait_until
from sqlalchemy import select

from schoolpulse_api import signin
from schoolpulse_api.browser import local_path, same_site
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Registry, grants, passwords, people, totp
from schoolpulse_collector.registry.model import Audit, Login, Person

PASSWORD, OTHER = "bảy con mèo đi học", "một cây làm chẳng nên non"
OWN = {"origin": "https://centre.example", "host": "centre.example"}
HASHED = passwords.hash_password(PASSWORD)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    yield made
    made.close()


def application(registry: Registry, *, easy: bool = False) -> FastAPI:
    """A small application: the routes, and a page that says how far whoever asks has come."""
    app = FastAPI()
    app.include_router(signin.router(registry, Settings(), easy=easy))

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/")
    def first(request: Request) -> Response:
        with registry.read() as session:
            found = people.login_of(session, signin.cookie_of(request))
        return Response(f"{found[1].login} {found[0].stage}" if found else "nobody")

    return app


Visit = Callable[..., TestClient]


@pytest.fixture
def visit(registry: Registry) -> Visit:
    """Browsers, over https."""
    apps = {easy: application(registry, easy=easy) for easy in (False, True)}

    def made(easy: bool = False, base: str = "https://centre.example") -> TestClient:
        origin = {"origin": base, "user-agent": "Firefox <b>"}
        return TestClient(apps[easy], base_url=base, headers=origin, follow_redirects=False)

    return made


@pytest.fixture
def lan(registry: Registry) -> Person:
    return person(registry, "lan", "technician")


def person(registry: Registry, login: str, role: str, hashed: str = HASHED) -> Person:
    with registry.change("system") as change:
        made = people.add(change, login, "Nguyễn Thị <Lan>")
        people.set_password(change, made, hashed)
        grants.grant(change, made.id, role=role)
    return made


def with_totp(registry: Registry, whom: Person) -> pyotp.TOTP:
    secret = totp.new_secret()
    with registry.change("system") as change:
        change.session.get_one(Person, whom.id).totp_secret = secret
    return pyotp.TOTP(secret)


def link(registry: Registry, whom: Person) -> str:
    with registry.change("system") as change:
        return f"/sign-in?token={people.issue_link(change, whom)}"


def sign_in(browser: TestClient, login: str = "lan", password: str = PASSWORD, **more: str) -> httpx.Response:
    return browser.post("/sign-in", data={"login": login, "password": password, **more})


def secret_on(page: httpx.Response) -> str:
    return re.findall(r'name="secret" value="([A-Z2-7]{32})"', page.text)[0]


# Password.


def test_login_and_password_open_a_session_in_a_cookie_that_only_this_host_gets(visit: Visit, lan: Person) -> None:
    browser = visit()
    answer = sign_in(browser, " LAN ", next="/device/x?y=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/device/x?y=1")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-sp=")
    for part in ("httponly", "secure", "samesite=lax", "path=/", "max-age=43200"):
        assert part in cookie
    assert "domain" not in cookie
    assert browser.get("/").text == "lan full"
    assert browser.get("/sign-in").headers["location"] == "/"


def test_over_plain_http_the_cookie_has_its_other_name_which_https_does_not_take(visit: Visit, lan: Person) -> None:
    answer = sign_in(visit(base="http://127.0.0.1:8080"))
    text = answer.cookies["sp_session"]
    assert "secure" not in answer.headers["set-cookie"].lower()
    assert visit().get("/", headers={"cookie": f"sp_session={text}"}).text == "nobody"
    assert visit().get("/", headers={"cookie": f"__Host-sp={text}"}).text == "lan full"


def test_one_same_answer_for_whatever_is_wrong(registry: Registry, visit: Visit, lan: Person) -> None:
    with registry.change("system") as change:
        people.deactivate(change, people.add(change, "gone", "Gone"))
    bodies = set()
    for login, password in (("lan", "wrong password"), ("nobody", PASSWORD), ("gone", PASSWORD), ("lan", "")):
        answer = sign_in(visit(), login, password)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers
        bodies.add(answer.text.replace(f'value="{login}"', ""))
    assert len(bodies) == 1


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil", "evil", ""]
)
def test_signing_in_leads_nowhere_else(visit: Visit, lan: Person, target: str) -> None:
    assert local_path(target) == "/"
    assert sign_in(visit(), next=target).headers["location"] == "/"


def test_too_many_tries_for_one_login_wait_and_say_how_long(registry: Registry, visit: Visit, lan: Person) -> None:
    browser = visit()
    assert [sign_in(browser, password=f"{n} wrong wrong").status_code for n in range(10)] == [401] * 10
    answer = sign_in(browser)
    assert answer.status_code == 429 and 800 < int(answer.headers["retry-after"]) <= 900
    assert sign_in(browser, "someone else").status_code == 401


def test_too_many_tries_from_one_address_wait_whoever_they_are_for(visit: Visit, lan: Person) -> None:
    browser = visit()
    codes = [sign_in(browser, f"login{n}").status_code for n in range(21)]
    assert codes == [401] * 20 + [429]
    assert browser.get("/sign-in?token=guess").status_code == 429


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://centre.example"}, False),
        ({"origin": "https://centre.example"}, True),
        ({"origin": "https://Centre.example"}, True),
        ({"origin": "https://centre.example.evil"}, False),
        ({"origin": "https://centre.example:444"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_only_our_own_pages_may_send_forms(registry: Registry, lan: Person, headers: dict[str, str], own: bool) -> None:
    assert same_site(headers, "centre.example") == own
    assert not same_site(headers, "") or "sec-fetch-site" in headers
    browser = TestClient(application(registry), base_url="https://centre.example", follow_redirects=False)
    answer = browser.post("/sign-in", data={"login": "lan", "password": PASSWORD}, headers=headers)
    assert answer.status_code == (303 if own else 403)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"a=" + b"x" * 20_000, 413), (b"login=%ff", 422), (b"\xff", 422), (b"login=a%00&name=", 401), (b"", 401)],
)
def test_what_is_no_form_is_an_answer_and_no_error(visit: Visit, body: bytes, status: int) -> None:
    assert visit().post("/sign-in", content=body).status_code == status


def test_pages_run_no_script_and_escape_what_people_wrote(visit: Visit, lan: Person) -> None:
    browser = visit()
    wrong = sign_in(browser, '"><script>alert(1)</script>', "wrong", next='/"><script>')
    sign_in(browser)
    own = browser.get("/account")
    assert "Nguyễn Thị &lt;Lan&gt;" in own.text and "Firefox &lt;b&gt;" in own.text
    for page in (wrong, own):
        assert "<script" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")


def test_pages_speak_vietnamese_first_and_english_by_the_cookie(visit: Visit) -> None:
    assert "Tên đăng nhập" in visit().get("/sign-in").text
    assert "User name" in visit().get("/sign-in", headers={"cookie": "sp_language=en"}).text


def test_signing_out_and_in_anew_end_the_session_before(registry: Registry, visit: Visit, lan: Person) -> None:
    browser, thief = visit(), visit()
    sign_in(browser)
    stolen = {"cookie": f"__Host-sp={browser.cookies['__Host-sp']}"}
    assert thief.get("/", headers=stolen).text == "lan full"
    sign_in(browser)
    assert thief.get("/", headers=stolen).text == "nobody"
    stolen = {"cookie": f"__Host-sp={browser.cookies['__Host-sp']}"}
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert thief.get("/", headers=stolen).text == browser.get("/").text == "nobody"


# Code.


def test_who_has_an_app_shows_a_code_before_anything_else(registry: Registry, visit: Visit, lan: Person) -> None:
    app, browser = with_totp(registry, lan), visit()
    assert sign_in(browser, next="/x?a=b&c").headers["location"] == "/sign-in/code?next=/x%3Fa%3Db%26c"
    before = browser.cookies["__Host-sp"]
    assert browser.get("/").text == "lan code"
    assert browser.get("/account").headers["location"].startswith("/sign-in/code")
    assert browser.post("/account", data={"do": "name", "name": "x"}).headers["location"].startswith("/sign-in/code")
    assert browser.post("/sign-in/code", data={"code": "000000"}).status_code == 401
    code = app.now()
    done = browser.post("/sign-in/code", data={"code": code, "next": "/x?a=b&c"})
    assert done.headers["location"] == "/x?a=b&c" and browser.get("/").text == "lan full"
    assert browser.cookies["__Host-sp"] != before
    assert visit().get("/", headers={"cookie": f"__Host-sp={before}"}).text == "nobody"
    again = visit()
    sign_in(again)
    assert again.post("/sign-in/code", data={"code": code}).status_code == 401  # good once only


def test_codes_can_not_be_guessed_by_many_sign_ins(registry: Registry, visit: Visit, lan: Person) -> None:
    app, codes = with_totp(registry, lan), []
    for _ in range(3):
        browser = visit()
        sign_in(browser)
        codes += [browser.post("/sign-in/code", data={"code": "000000"}).status_code for _ in range(2)]
    assert codes == [401] * 5 + [429]
    assert browser.post("/sign-in/code", data={"code": app.now()}).status_code == 429


def test_a_link_does_not_go_round_the_second_factor(registry: Registry, visit: Visit, lan: Person) -> None:
    with_totp(registry, lan)
    browser = visit()
    assert browser.get(link(registry, lan)).headers["location"].startswith("/sign-in/code")
    assert browser.get("/").text == "lan code"


# One-time link, and what must be set up.


def test_a_link_signs_in_once(registry: Registry, visit: Visit, lan: Person) -> None:
    once, first = link(registry, lan), visit()
    assert first.get(once).headers["location"] == "/" and first.get("/").text == "lan full"
    refused = visit().get(once)
    assert refused.status_code == 403 and "schoolpulse link" in refused.text


def test_a_new_person_comes_by_link_and_sets_a_password_first(registry: Registry, visit: Visit) -> None:
    new, browser = person(registry, "moi", "viewer", ""), visit()
    assert browser.get(link(registry, new)).headers["location"] == "/account"
    assert browser.get("/").text == "moi setup"
    page = browser.get("/account").text
    assert 'name="new"' in page and 'value="totp"' not in page and 'value="end"' not in page
    assert browser.post("/account", data={"do": "name", "name": "Other"}).status_code == 422
    for password, again in (("short", "short"), (OTHER, OTHER + "x"), ("matkhau123", "matkhau123")):
        answer = browser.post("/account", data={"do": "password", "new": password, "again": again})
        assert answer.status_code == 422 and browser.get("/").text == "moi setup"
    done = browser.post("/account", data={"do": "password", "new": OTHER, "again": OTHER})
    assert done.headers["location"] == "/" and browser.get("/").text == "moi full"
    assert sign_in(visit(), "moi", OTHER).headers["location"] == "/"


def test_an_administrator_sets_up_a_second_factor_before_anything_else(registry: Registry, visit: Visit) -> None:
    chief, browser = person(registry, "chief", "administrator", ""), visit()
    browser.get(link(registry, chief))
    assert browser.post("/account", data={"do": "totp", "secret": "A" * 32, "code": "1"}).status_code == 422
    browser.post("/account", data={"do": "password", "new": OTHER, "again": OTHER})
    assert browser.get("/").text == "chief setup"
    page = browser.get("/account")
    secret = secret_on(page)
    assert "<svg" in page.text and 'name="new"' not in page.text
    wrong = browser.post("/account", data={"do": "totp", "secret": secret, "code": "000000"})
    assert wrong.status_code == 422 and secret_on(wrong) == secret  # the app need not scan again
    code = pyotp.TOTP(secret).now()
    done = browser.post("/account", data={"do": "totp", "secret": secret, "code": code})
    assert done.headers["location"] == "/" and browser.get("/").text == "chief full"
    again = visit()
    sign_in(again, "chief", OTHER)
    assert again.get("/").text == "chief code"
    assert again.post("/sign-in/code", data={"code": code}).status_code == 401  # the one that set it up is spent


def test_who_needs_nothing_any_more_goes_on(registry: Registry, visit: Visit) -> None:
    chief, browser = person(registry, "chief", "administrator"), visit()
    sign_in(browser, "chief")
    assert browser.get("/").text == "chief setup"
    with registry.change("system") as change:
        grants.withdraw(change, grants.of_person(change.session, chief.id)[0].id)
    assert browser.get("/account").headers["location"] == "/" and browser.get("/").text == "chief full"


def test_in_the_demo_nobody_is_made_to_set_up_anything(registry: Registry, visit: Visit) -> None:
    chief, browser = person(registry, "chief", "administrator", ""), visit(easy=True)
    assert browser.get(link(registry, chief)).headers["location"] == "/"
    assert browser.get("/").text == "chief full"
    assert browser.get("/account").status_code == 200


# One's own account.


def test_a_new_password_takes_the_old_one_and_ends_other_sessions(visit: Visit, lan: Person) -> None:
    browser, other = visit(), visit()
    sign_in(browser), sign_in(other)
    change = {"do": "password", "new": OTHER, "again": OTHER}
    assert browser.post("/account", data={**change, "old": "wrong"}).status_code == 422
    assert other.get("/").text == "lan full"
    assert browser.post("/account", data={**change, "old": PASSWORD}).headers["location"] == "/account?saved=1"
    assert (browser.get("/").text, other.get("/").text) == ("lan full", "nobody")
    assert sign_in(visit()).status_code == 401 and sign_in(visit(), password=OTHER).status_code == 303


def test_whoever_found_an_open_browser_can_not_guess_the_old_password_for_long(visit: Visit, lan: Person) -> None:
    browser = visit()
    sign_in(browser)
    guess = {"do": "password", "old": "wrong", "new": OTHER, "again": OTHER}
    assert [browser.post("/account", data=guess).status_code for _ in range(11)] == [422] * 10 + [429]


def test_sessions_are_listed_and_ended_but_only_ones_own(registry: Registry, visit: Visit, lan: Person) -> None:
    person(registry, "minh", "viewer")
    browser, other, minhs = visit(), visit(), visit()
    sign_in(browser), sign_in(other), sign_in(minhs, "minh")
    with registry.read() as session:
        everyones = {each.hash: each.person for each in session.scalars(select(Login))}
    assert set(re.findall(r'name="session" value="(\w+)"', browser.get("/account").text)) < set(everyones)
    with registry.read() as session:
        own, _ = people.login_of(session, browser.cookies["__Host-sp"]) or (None, None)
    for each in everyones:
        if own and each != own.hash:
            browser.post("/account", data={"do": "end", "session": each})
    assert [each.get("/").text for each in (browser, other, minhs)] == ["lan full", "nobody", "minh full"]


def test_the_own_name_can_be_changed_and_not_be_empty(visit: Visit, lan: Person) -> None:
    browser = visit()
    sign_in(browser)
    assert browser.post("/account", data={"do": "name", "name": " Trần   Lan "}).status_code == 303
    assert "Trần Lan" in browser.get("/account?saved=1").text
    assert browser.post("/account", data={"do": "name", "name": "  "}).status_code == 422
    assert browser.post("/account", data={"do": "nothing known"}).status_code == 422


def test_nobody_sees_an_account_without_a_session(visit: Visit) -> None:
    assert visit().get("/account").headers["location"] == "/sign-in?next=/account"
    assert visit().post("/account", data={"do": "name", "name": "x"}).headers["location"].startswith("/sign-in")
    assert visit().get("/sign-in/code").headers["location"] == "/sign-in"
    assert visit().post("/sign-in/code", data={"code": "1"}).headers["location"] == "/sign-in"


# Secrets.


def test_no_secret_is_logged_or_audited(registry: Registry, visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chief, browser = person(registry, "chief", "administrator", ""), visit()
    once = link(registry, chief)
    used = [once.partition("=")[2], OTHER, "typed into the wrong field", "wrong wrong wrong"]
    browser.get(once)
    used.append(browser.cookies["__Host-sp"])
    browser.post("/account", data={"do": "password", "new": OTHER, "again": OTHER})
    secret = secret_on(browser.get("/account"))
    code = pyotp.TOTP(secret).now()
    browser.post("/account", data={"do": "totp", "secret": secret, "code": code})
    used += [secret, code, browser.cookies["__Host-sp"]]
    sign_in(browser, "typed into the wrong field", "x"), sign_in(browser, "chief", "wrong wrong wrong")
    sign_in(browser, "chief", OTHER)
    browser.post("/sign-in/code", data={"code": "918273"})
    used += ["918273", browser.cookies["__Host-sp"]]
    with registry.read() as session:
        rows = [f"{row.actor} {row.subject} {row.action} {row.detail}" for row in session.scalars(select(Audit))]
    told = "\n".join(rows) + caplog.text.replace("typed%20into%20the%20wrong", "typed into the wrong")
    assert "wrong password for person:chief" in told and "person.sign_in" in told
    assert [each for each in used if each in told and f"token={each}" not in told] == []
    assert [each for each in used if any(each in row for row in rows)] == []


# In a browser.


@pytest.fixture
def served(registry: Registry) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application(registry), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 10, "the server listens")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        yield browser.new_page(viewport={"width": 390, "height": 780})
        browser.close()


def test_an_administrator_signs_in_and_sets_up_an_app_with_a_phone(
    registry: Registry, served: str, page: Page, tmp_path: Path
) -> None:
    person(registry, "chief", "administrator")
    trouble = list[str]()
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.goto(f"{served}/sign-in")
    page.screenshot(path=tmp_path / "sign-in.png")
    assert page.evaluate("document.activeElement.name") == "login"
    page.get_by_label("Tên đăng nhập").fill("chief")
    page.get_by_label("Mật khẩu").fill(PASSWORD)
    page.get_by_role("button", name="Đăng nhập").click()
    page.wait_for_url("**/account")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=tmp_path / "setup.png", full_page=True)
    secret = page.locator("code").inner_text().replace(" ", "")
    page.get_by_label("Mã xác thực").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Bật").click()
    page.get_by_text("chief full").wait_for()
    page.goto(f"{served}/account")
    page.screenshot(path=tmp_path / "account.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=tmp_path / "account-wide-dark.png", full_page=True)
    page.get_by_role("button", name="Đăng xuất").click()
    page.wait_for_url("**/sign-in")
    page.screenshot(path=tmp_path / "sign-in-wide-dark.png")
    assert trouble == []
