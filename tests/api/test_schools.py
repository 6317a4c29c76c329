"""The list of schools: what is in each, for views of different width, without a question for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.centres import Office
from sqlalchemy import event

from schoolpulse_agent.wire import Presence as Said


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


def test_the_list_shows_each_school_as_it_shows_itself(office: Office) -> None:
    office.registry.enrol("d3", "s1", "r1", "PC-02", "lab_pc")
    office.presence.said("d1", Said("online", "x", 1, 0, 60.0))
    with office.client(office.token("viewer")) as client:
        found = {each["key"]: each for each in client.get("/api/v1/schools").json()}
        assert found == {key: client.get(f"/api/v1/schools/{key}").json() for key in ("s1", "s2")}
    assert found["s1"]["devices"] == {"online": 1, "off": 0, "offline": 0, "unknown": 1}
    assert [room["key"] for room in found["s1"]["rooms"]] == ["r1"]


def test_who_sees_one_school_is_told_of_nothing_in_another(office: Office) -> None:
    with office.client(office.token("viewer", school="s2")) as client:
        answer = client.get("/api/v1/schools")
        assert [each["key"] for each in answer.json()] == ["s2"]
        assert sum(answer.json()[0]["devices"].values()) == 1
        assert "r1" not in answer.text
        assert client.get("/api/v1/schools/s1").status_code == 404


def test_many_schools_are_no_more_questions_to_the_database_than_one(office: Office) -> None:
    asked: list[str] = []
    event.listen(office.registry.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with office.client(office.token("viewer")) as client:
        asked.clear()
        assert len(client.get("/api/v1/schools").json()) == 2
    for table in ("school", "room", "device"):
        assert sum(bool(re.search(rf"FROM {table}\b", text)) for text in asked) == 1, asked
