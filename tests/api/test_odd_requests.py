"""Requests that no honest program sends: each is refused with a reason as JSON, on either database; none is a 500.

And the OpenAPI document: whole, and readable where there is no Internet.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from api.centres import Office
from running import PostgreSQL

from schoolpulse_api.access import OPEN

JSON = {"Content-Type": "application/json"}
HARDWARE = {"uuid": "", "macs": []}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    server: PostgreSQL = request.getfixturevalue("postgresql")
    made = Office(tmp_path_factory.mktemp("office"), registry=server.database() if request.param != "sqlite" else "")
    yield made
    made.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/devices/%00",
        "/api/v1/devices/d1%00",
        "/api/v1/devices/%ED%A0%80",
        "/api/v1/devices/%FF%FE",
        "/api/v1/devices?school=%00",
        "/api/v1/devices?after=%00",
        "/api/v1/devices?limit=" + "9" * 5000,
        "/api/v1/devices?limit=nan",
        "/api/v1/audit?subject=%00",
        "/api/v1/audit?before=" + "9" * 30,
        "/api/v1/schools/%00",
        "/api/v1/schools/" + "s" * 10_000,
        "/api/v1/schools/%00/tokens",
        "/api/v1/stream?device=%00",
        "/api/v1/series?measurement=%00&field=x",
        "/api/v1/series?measurement=mem&field=used_percent&where=device=%00",
        "/api/v1/series?measurement=mem&field=used_percent&tz=%00",
        "/api/v1/series?measurement=mem&field=used_percent&start=%D9%A3",
        "/api/v1/series?measurement=mem&field=used_percent&limit=" + "9" * 400,
        "/api/v1/nothing",
        "/api/",
    ],
)
def test_an_odd_address_is_refused(office: Office, path: str) -> None:
    with office.client(office.token("administrator")) as client:
        answer = client.get(path)
    assert answer.status_code in (400, 404, 422), answer.text
    assert isinstance(answer.json()["detail"], str) and len(answer.json()["detail"]) < 1000


@pytest.mark.parametrize(
    "query",
    ["&".join(["group_by=device"] * 500), "&".join(["where=device=d1"] * 500), "start=0&stop=999999999999"],
    ids=["many groups", "many conditions", "long"],
)
def test_a_long_question_about_values_gets_an_answer(office: Office, query: str) -> None:
    with office.client(office.token("administrator")) as client:
        answer = client.get(f"/api/v1/series?measurement=mem&field=used_percent&{query}")
    assert answer.status_code in (200, 400), answer.text


BODIES: list[tuple[str, str, bytes]] = [
    ("PATCH", "/api/v1/devices/d1", rb'{"name": "\u0000"}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"name": "\ud800"}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"\ud800": 1, "name": 5}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"kind": "\u0000"}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"asset_code": "\u0000"}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"room": "nowhere"}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"room": ""}'),
    ("PATCH", "/api/v1/devices/d1", rb'{"room": "r2"}'),
    ("PATCH", "/api/v1/devices/d1", rb"NaN"),
    ("PATCH", "/api/v1/devices/d1", b"\xff\xfe"),
    ("PATCH", "/api/v1/devices/d1", b"[" * 200_000),
    ("PATCH", "/api/v1/devices/d1", b""),
    ("POST", "/api/v1/devices/d1/move", rb'{"school": "nowhere"}'),
    ("POST", "/api/v1/devices/d1/move", rb'{"school": "\u0000"}'),
    ("POST", "/api/v1/devices/d1/move", rb'{"school": "s2", "room": "r1"}'),
    ("PATCH", "/api/v1/schools/s1", rb'{"name": "\u0000"}'),
    ("PUT", "/api/v1/schools/s1/rooms/%00", rb'{"name": "x"}'),
    ("PUT", "/api/v1/schools/nowhere/rooms/r9", rb'{"name": "x"}'),
    ("POST", "/api/v1/schools/s1/tokens", rb'{"days": NaN}'),
    ("POST", "/api/v1/schools/s1/tokens", rb'{"days": Infinity}'),
    ("POST", "/api/v1/schools/s1/tokens", rb'{"days": 1e-400, "uses": 1}'),
    ("POST", "/api/v1/schools/s1/tokens", b'{"uses": ' + b"9" * 5000 + b"}"),
    ("POST", "/api/v1/schools/s1/tokens", rb'{"label": "\u0000"}'),
    ("POST", "/api/v1/schools/s1/tokens", rb'{"room": "\u0000"}'),
    ("POST", "/api/v1/people", rb'{"login": "\u0000\u0000", "name": "x"}'),
    ("POST", "/api/v1/people", rb'{"login": "xx", "name": "x", "grants": [{"role": "viewer", "unit": "\u0000"}]}'),
    ("POST", "/api/v1/people", rb'{"login": "xx", "name": "x", "grants": [{"role": "viewer", "school": "no"}]}'),
    ("POST", "/api/v1/api-tokens", rb'{"label": "\u0000", "grants": [{"role": "viewer"}]}'),
    ("POST", "/api/v1/api-tokens", rb'{"label": "x", "days": -Infinity, "grants": [{"role": "viewer"}]}'),
    ("DELETE", f"/api/v1/api-tokens/{2**63}", b""),
    ("DELETE", f"/api/v1/grants/{2**61}", b""),
    ("DELETE", f"/api/v1/schools/s1/tokens/{2**64}", b""),
    ("POST", "/api/v1/enrol", rb'{"token": "\u0000", "hardware": {}}'),
    ("POST", "/api/v1/enrol", rb'{"token": "\ud800", "hardware": {}}'),
    ("POST", "/api/v1/rekey", rb'{"device": "\u0000", "secret": "\u0000", "hardware": {}}'),
    ("POST", "/api/v1/renew", rb'{"device": "d1", "secret": "\u0000", "csr": "\u0000"}'),
    ("POST", "/api/v1/org/import", b"{}"),
]


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=lambda value: repr(value)[:60])
def test_an_odd_body_is_refused(office: Office, method: str, path: str, body: bytes) -> None:
    with office.client(office.token("administrator"), **JSON) as client:
        answer = client.request(method, path, content=body)
    assert answer.status_code in (400, 403, 404, 422), answer.text
    assert isinstance(answer.json()["detail"], str) and len(answer.json()["detail"]) < 1000


def test_a_refusal_does_not_repeat_a_secret(office: Office) -> None:
    with office.client(**JSON) as client:
        answer = client.post("/api/v1/enrol", content=b'{"token": "spe_secret", "hardware": 1, "name": ["spe_secret"]}')
    assert answer.status_code == 422 and "spe_secret" not in answer.text and "hardware" in answer.text


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "megabytes"), [("/api/v1/people", 2), ("/api/v1/enrol", 2), ("/api/v1/org/import", 21)]
)
def test_a_request_that_is_too_large_is_refused(office: Office, path: str, megabytes: int, chunked: bool) -> None:
    def parts() -> Iterator[bytes]:
        yield from [b" " * 2**20] * megabytes

    kind = "multipart/form-data; boundary=x" if path.endswith("import") else JSON["Content-Type"]
    size = {} if chunked else {"Content-Length": str(megabytes * 2**20)}
    with office.client(office.token("administrator"), **{"Content-Type": kind}, **size) as client:
        answer = client.post(path, content=parts())
    assert answer.status_code in (413, 400) and answer.json()["detail"], answer.text
    assert answer.status_code == 413 or path.endswith("import")


def part(*lines: str, body: bytes = b"key,name\ns9,x\n") -> bytes:
    head = "\r\n".join(("--x", *lines)).encode("utf-8", "surrogateescape")
    return head + b"\r\n\r\n" + body + b"\r\n--x--\r\n"


FILE = 'Content-Disposition: form-data; name="file"'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", part(FILE)),
        ("multipart/form-data; boundary=y", part(FILE)),
        ("multipart/form-data; boundary=x; charset=none-such", part(FILE)),
        ("multipart/form-data; boundary=x", part(FILE)),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename=""')),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename="\x00.csv"')),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename="\udcff.csv"', body=b"\xff\x00\xfe")),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename="a.xlsx"', body=b"PK\x03\x04 no zip")),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename="a.csv"', body=b"key,name\n\x00,\x00\n")),
        ("multipart/form-data; boundary=x", part(f'{FILE}; filename="a.csv"', body=b"")),
        ("multipart/form-data; boundary=x", part("Content-Disposition: nonsense")),
        ("multipart/form-data; boundary=x", part("Content-Type: text/csv")),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("application/x-www-form-urlencoded", b"file=%00&apply=%FF"),
        ("text/plain", b"key,name"),
        ("\xff/\xfe; charset=\xff", b"\xff"),
        ("", b"x"),
    ],
)
def test_an_odd_upload_is_refused_or_read_without_a_change(office: Office, kind: str, body: bytes) -> None:
    with office.client(office.token("administrator")) as client:
        headers = {"Content-Type": kind.encode("latin-1")}
        answer = client.post("/api/v1/org/import", content=body, headers=headers)  # type: ignore[arg-type]
    if answer.status_code == 200:
        assert answer.json()["applied"] is False
    else:
        assert answer.status_code in (400, 422) and answer.json()["detail"], answer.text


@pytest.mark.parametrize(
    "head",
    [
        b"Host: [::1",
        b"Host: \xff\xff",
        b"Host: a:99999999",
        b"Host: a/b@c?d#e",
        b"Host: a\r\nAuthorization: \xff",
        b"Host: a\r\nAuthorization: Bearer",
        b"Host: a\r\nAuthorization: Bearer \xff\xfe",
        b"Host: a\r\nAuthorization: Basic e30=",
        b"Host: a\r\nAuthorization: Bearer " + b"x" * 20_000,
        b"Host: a\r\nCookie: sp_session=\xff; =; ;;",
        b"Host: a\r\nCookie: sp_session=x\r\nOrigin: http://[",
        b"Host: a\r\nContent-Length: -1",
        b"Host: a\r\nContent-Length: " + b"9" * 5000,
        b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"Host: a\r\nX-Forwarded-For: [\r\nX-Forwarded-Proto: \xff",
        b"Host: a\r\nAccept: text/html\r\nCookie: sp_language=\xff",
    ],
)
@pytest.mark.parametrize("line", [b"GET /api/v1/devices", b"POST /api/v1/enrol", b"POST /sign-in", b"GET /healthz"])
def test_an_odd_head_is_no_mistake_of_the_server(office: Office, line: bytes, head: bytes) -> None:
    body = b"" if b"Content-Length" in head else b"\r\nContent-Length: 2"
    sent = b"0\r\n\r\n" if b"chunked" in head else b"{}"
    with socket.create_connection(("127.0.0.1", int(office.url.rpartition(":")[2])), 10) as connection:
        connection.sendall(line + b" HTTP/1.1\r\n" + head + body + b"\r\nConnection: close\r\n\r\n" + sent)
        answer = connection.makefile("rb").readline()
    assert re.match(rb"HTTP/1.1 [234]", answer), answer


def test_a_wrong_method_is_told_the_right_ones(office: Office) -> None:
    with office.client(office.token("administrator")) as client:
        for path in ("/api/v1/devices", "/healthz", "/metrics", "/ca.pem"):
            answer = client.put(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET") and answer.json()["detail"]
        assert client.get("/api/v1/people/1/link").headers["allow"] == "POST"


def test_the_document_describes_every_operation(office: Office) -> None:
    document = office.app.openapi()
    models = document["components"]["schemas"]
    names = set[str]()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            here = f"{method} {path}"
            assert operation["summary"] and operation["tags"], here
            assert operation["operationId"] not in names, here
            names.add(operation["operationId"])
            assert path in OPEN or {"401", "403"} <= operation["responses"].keys(), here
            for status, answer in operation["responses"].items():
                assert answer["description"], (here, status)
                if int(status) >= 400 and path != "/healthz":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Detail"), (here, status)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                model = models[content["schema"]["$ref"].rpartition("/")[2]]
                fields: dict[str, Any] = model.get("properties", {})  # a model may be one plain object
                assert "Body_" not in model["title"] or all(each.get("description") for each in fields.values()), here
                assert "Body_" in model["title"] or model["description"], here


def test_the_documentation_needs_no_other_host(office: Office) -> None:
    with office.client(office.token("viewer")) as client:
        page = client.get("/docs")
        assert page.status_code == 200 and "://" not in page.text
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(assets) >= 2
        for asset in assets:
            assert client.get(asset).status_code == 200, asset
        assert client.get("/openapi.json").json()["info"]["title"] == "SchoolPulse"
