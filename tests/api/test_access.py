"""Rights: each route as each role, compared with the table in docs/rights.md, in one's own school and another's."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from api.centres import Office
from fastapi.routing import APIRoute
from httpx import Response
from running import ROOT
from sqlalchemy import delete

from schoolpulse_agent.package import Manifest
from schoolpulse_api import routes
from schoolpulse_api.access import OPEN, Needs
from schoolpulse_collector.registry import enrolment, grants, people, rollouts, tokens
from schoolpulse_collector.registry.model import ApiToken, Device, Rollout, Sighting
from schoolpulse_collector.registry.rights import ROLES

PACKAGE = Manifest("9.9.9", hashlib.sha256(b"zip").hexdigest(), 3, "3.9")
LINE = re.compile(r"\| `(\w+) (/\S+)` \| (\w+) \| (\w+) \|")


class Rule(NamedTuple):
    """One line of the table."""

    method: str
    path: str
    role: str
    place: str


RULES = [Rule(*found.groups()) for found in LINE.finditer((ROOT / "docs/rights.md").read_text())]
BODIES: dict[str, Any] = {
    "POST /api/v1/api-tokens": {"label": "x", "grants": [{"role": "viewer"}]},
    "PATCH /api/v1/devices/{device_id}": {"name": "PC 9"},
    "POST /api/v1/devices/{device_id}/move": {"school": "SCHOOL"},
    "PUT /api/v1/configuration": {"reports": {"interval": 30}},
    "PUT /api/v1/devices/{device_id}/configuration": {"reports": {"interval": 30}},
    "PUT /api/v1/schools/{school}/configuration": {"reports": {"interval": 30}},
    "POST /api/v1/people": {"login": "lan", "name": "Lan"},
    "POST /api/v1/people/{person}/grants": {"role": "viewer"},
    "PATCH /api/v1/schools/{school}": {"name": "Tên mới"},
    "PUT /api/v1/schools/{school}/rooms/{room}": {"name": "Phòng"},
    "POST /api/v1/rollouts": {"package": {**PACKAGE._asdict(), "signature": "c2ln"}},
    "POST /api/v1/schools/{school}/tokens": {"uses": 1},
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    (made.settings.home / "packages").mkdir()
    (made.settings.home / "packages/schoolpulse-agent-9.9.9.zip").write_bytes(b"zip")
    yield made
    made.close()


def rank(role: str) -> int:
    return ROLES.index(role)


def call(office: Office, rule: Rule, token: str, number: int) -> Response:
    """Call a route about school ``number``, with things that are really there."""
    things = {**prepare(office, number), "rollout": roll(office, rule.path.rpartition("/")[2])}
    if "api-tokens" in rule.path:
        things["token"] = things["api"]
    path = re.sub(r"\{(\w+)\}", lambda found: str(things[found[1]]), rule.path)
    name = f"{rule.method} {rule.path}"
    body = {key: f"s{number}" if value == "SCHOOL" else value for key, value in BODIES.get(name, {}).items()}
    with office.client(token) as client:
        if rule.path.endswith("/stream"):  # it never ends
            with client.stream("GET", path) as answer:
                return answer
        if rule.path.endswith("/import"):
            return client.post(path, files={"file": ("a.csv", "key,name\ns9,Trường 9\n".encode())})
        query = {"measurement": "mem", "field": "used_percent"} if rule.path.endswith("/series") else None
        return client.request(rule.method, path, params=query, json=body if name in BODIES else None)


def prepare(office: Office, number: int) -> dict[str, Any]:
    device = f"d{number}"
    with office.registry.change("system") as change:
        own = change.session.get_one(Device, device)
        own.status, own.rekey_until, own.school, own.room = "active", 0, f"s{number}", f"r{number}"
        row, _ = enrolment.issue(change, "ab" * 32, f"s{number}")
        person = people.add(change, f"p{row.id}", "Ai đó")
        given = grants.grant(change, person=person.id, role="viewer")
        change.session.flush()
        if not change.session.get(Sighting, (device, "b" * 16)):
            change.session.add(Sighting(device=device, hardware="b" * 16, first=1, last=1))
        api = ApiToken(hash=f"{row.id:064}", label="x", created=0, created_by="system")
        change.session.add(api)
        change.session.flush()
        found = {"token": row.id, "person": person.id, "grant": given.id, "api": api.id}
    return {"device_id": device, "school": f"s{number}", "room": f"r{number}", **found}


def roll(office: Office, act: str) -> int:
    """A rollout with which this can be done, or none where a new one is to be begun."""
    with office.registry.change("system") as change:
        change.session.execute(delete(Rollout))
        if act not in ("pause", "resume", "withdraw"):
            return 0
        made = rollouts.start(change, PACKAGE)
        if act == "resume":
            rollouts.pause(change, made.id)
    return made.id


def test_the_table_names_every_route_with_the_role_that_it_asks_for(office: Office) -> None:
    declared = set()
    for module in pkgutil.iter_modules(routes.__path__):
        for route in importlib.import_module(f"{routes.__name__}.{module.name}").router().routes:
            assert isinstance(route, APIRoute)
            asked = [each.call for each in route.dependant.dependencies if isinstance(each.call, Needs)]
            assert len(asked) == 1, route.path
            declared |= {(method, route.path, asked[0].role, asked[0].centre) for method in route.methods}
    assert declared == {(rule.method, rule.path, rule.role, rule.place == "centre") for rule in RULES}
    answers = {(method.upper(), path) for path, methods in office.app.openapi()["paths"].items() for method in methods}
    assert {path for _, path in answers - {(rule.method, rule.path) for rule in RULES}} <= set(OPEN)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_each_route_as_each_role_granted_in_one_school(office: Office, rule: Rule) -> None:
    for role in ROLES:
        token = office.token(role, school="s1")
        own, others = call(office, rule, token, 1).status_code, call(office, rule, token, 2).status_code
        good = rank(role) >= rank(rule.role) and rule.place != "centre"
        assert (own < 300) is good, (role, own)
        assert own < 300 or own == 403, (role, own)
        if rule.place == "school":
            assert others in ((403, 404) if rank(role) < rank(rule.role) else (404,)), (role, others)
        else:
            assert (others < 300) is good, (role, others)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_each_route_as_each_role_granted_everywhere(office: Office, rule: Rule) -> None:
    for role in ROLES:
        status = call(office, rule, office.token(role), 2).status_code
        assert status < 300 if rank(role) >= rank(rule.role) else status == 403, (role, status)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_nobody_and_somebody_without_grants_get_nothing(office: Office, rule: Rule) -> None:
    assert call(office, rule, "spk_unknown", 1).status_code == 401
    with office.registry.change("system") as change:
        _, bare = tokens.issue(change, "bare", None, [])
    assert call(office, rule, bare, 1).status_code == 403


def test_lists_hold_the_granted_schools_only(office: Office) -> None:
    for number in (1, 2):
        prepare(office, number)
    with office.client(office.token("area_it", school="s1")) as client:
        assert [each["key"] for each in client.get("/api/v1/schools").json()] == ["s1"]
        page = client.get("/api/v1/devices").json()
        assert ([each["id"] for each in page["items"]], page["total"]) == (["d1"], 1)
        assert [each["device"]["id"] for each in client.get("/api/v1/clones").json()] == ["d1"]
        assert {each["school"] for each in client.get("/api/v1/audit").json()["items"]} == {"s1"}
        query = {"measurement": "mem", "field": "used_percent", "group_by": "device"}
        for where in ([], ["school=s2"], ["school in s1|s2"], ["school!=s1"], ["device prefix d"]):
            lines = client.get("/api/v1/series", params={**query, "where": where}).json()["series"]
            assert {line["tags"]["device"] for line in lines} <= {"d1"}, where
        assert client.get("/api/v1/series", params=query).json()["series"]


def test_a_right_that_is_withdrawn_ends_and_a_token_that_is_revoked_too(office: Office) -> None:
    token = office.token("viewer", school="s1")
    with office.client(office.token("administrator")) as admin, office.client(token) as client:
        assert client.get("/api/v1/devices/d1").status_code == 200
        with office.registry.read() as session:
            row = tokens.find(session, token)
            assert row
            given = grants.of_token(session, row.id)[0]
        assert admin.delete(f"/api/v1/grants/{given.id}").status_code == 204
        assert client.get("/api/v1/devices/d1").status_code == 403
        assert admin.delete(f"/api/v1/api-tokens/{row.id}").status_code == 204
        assert client.get("/api/v1/devices/d1").status_code == 401
