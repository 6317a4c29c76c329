"""Without a token nothing is shown but whether the program works."""

from __future__ import annotations

import httpx
import pytest
from running import Demo


def routes(demo: Demo) -> list[str]:
    with demo.client() as client:
        return [path for path in client.get("/openapi.json").json()["paths"] if path != "/healthz"]


def test_every_documented_route_but_healthz_wants_a_token(demo: Demo) -> None:
    found = routes(demo)
    assert len(found) >= 6
    with httpx.Client(base_url=demo.url) as stranger:
        for path in found:
            answer = stranger.get(path)
            assert answer.status_code == 401 and "Bearer" in answer.headers["www-authenticate"], path
        assert stranger.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/device/x", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"]
)
def test_pages_docs_and_web_sockets_want_a_token_too(demo: Demo, path: str) -> None:
    assert httpx.get(demo.url + path).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer spk_wrong"},
        {"Authorization": "Basic eDp5"},
        {"Cookie": "sp_session=spk_wrong"},
        {"Cookie": 'sp_session="unbalanced'},
        {"Cookie": "a/b=1; foo@x=2"},
        {"Authorization": "Bearer \xff"},
    ],
)
def test_what_only_looks_like_a_token_is_refused(demo: Demo, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    assert httpx.get(f"{demo.url}/api/v1/schools", headers=raw).status_code == 401


def test_a_token_for_scripts_is_no_session_and_a_session_no_token_for_scripts(demo: Demo) -> None:
    token = (demo.home / "token").read_text().strip()
    assert httpx.get(f"{demo.url}/api/v1/schools", headers={"Cookie": f"sp_session={token}"}).status_code == 401


def test_the_language_switch_leads_nowhere_else(demo: Demo) -> None:
    with demo.client() as client:
        for target in ("https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"):
            assert client.get("/language/en", params={"back": target}).headers["location"] == "/"
        assert client.get("/language/en", params={"back": "/device/x"}).headers["location"] == "/device/x"
