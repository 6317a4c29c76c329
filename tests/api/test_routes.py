"""The API's answers, on the running demo."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from running import Demo, wait_until


@pytest.fixture(scope="module")
def api(demo: Demo) -> Iterator[httpx.Client]:
    with demo.client() as client:
        wait_until(
            lambda: client.get("/api/v1/series?measurement=mem&field=used").json()["series"], 30, "stored reports"
        )
        yield client


def test_schools_count_their_devices_by_presence(api: httpx.Client) -> None:
    school = api.get("/api/v1/schools").json()[0]
    assert school["name"].startswith("THCS Lạc Hồng")
    assert {room["name"] for room in school["rooms"]} == {"Phòng máy chủ", "Phòng máy 1"}
    assert sum(school["devices"].values()) == 41


def test_pages_of_devices_cover_each_once(api: httpx.Client) -> None:
    found, after = [], ""
    while after is not None:
        page = api.get("/api/v1/devices", params={"limit": 7, "after": after}).json()
        assert page["total"] == 41 and len(page["items"]) <= 7
        found += [each["id"] for each in page["items"]]
        after = page["next"]
    assert len(found) == len(set(found)) == 41


def test_what_is_simulated_says_so_and_only_that(api: httpx.Client) -> None:
    devices = api.get("/api/v1/devices").json()["items"]
    assert [each["kind"] for each in devices if not each["simulated"]] == ["server"]
    assert {each["kind"] for each in devices if each["simulated"]} == {"lab_pc"}


def test_a_device_shows_its_last_values_and_an_unknown_one_is_404(api: httpx.Client) -> None:
    own = next(each for each in api.get("/api/v1/devices").json()["items"] if not each["simulated"])

    def with_values() -> dict | None:
        found = api.get(f"/api/v1/devices/{own['id']}").json()
        return found if "system" in found["latest"] else None

    device = wait_until(with_values, 10, "its last values")
    assert device["presence"]["state"] == "online"
    assert time.time() - device["latest"]["system"]["t"] / 1000 < 15
    assert device["latest"]["system"]["fields"]["uptime"] > 0
    assert api.get("/api/v1/devices/nobody").status_code == 404


def test_series_group_filter_and_limit(api: httpx.Client) -> None:
    query = {"measurement": "cpu", "field": "usage_active", "group_by": "device", "where": "kind=lab_pc", "limit": 3}
    answer = api.get("/api/v1/series", params=query).json()
    assert (answer["unit"], answer["vi"]) == ("%", "CPU đang bận")
    assert len(answer["series"]) == 3 and all(len(line["points"]) == 1 for line in answer["series"])
    values = [line["points"][0][1] for line in answer["series"]]
    assert values == sorted(values, reverse=True)


def test_series_across_devices_and_by_room(api: httpx.Client) -> None:
    query = {"measurement": "mem", "field": "total", "group_by": "room", "across": "sum", "aggregate": "last"}
    found = {
        line["tags"]["room"]: line["points"][0][1] for line in api.get("/api/v1/series", params=query).json()["series"]
    }
    wait_until(
        lambda: len(api.get("/api/v1/series", params={**query, "across": "count"}).json()["series"]) == 2,
        20,
        "both rooms",
    )
    assert found["demo-phong-may-1"] % (8 * 2**30) == 0  # simulated PCs have 8 GiB each


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": "5 minutes"},
        {"every": "0s"},
        {"start": "yesterday"},
        {"start": "2000000000", "stop": "1"},
        {"aggregate": "median"},
        {"across": "last"},
        {"where": "device"},
        {"where": 'device"=x'},
        {"group_by": "nothing_like_it"},
        {"tz": "Mars/Olympus"},
        {"limit": "0"},
        {"every": "1s", "start": "0"},
        {"measurement": 'cpu"; drop table m.cpu; --'},
    ],
)
def test_a_wrong_question_gets_400_and_says_what_to_write(api: httpx.Client, wrong: dict[str, str]) -> None:
    answer = api.get("/api/v1/series", params={"measurement": "cpu", "field": "usage_active", **wrong})
    assert answer.status_code == 400 and len(answer.json()["detail"]) > 10


def test_what_was_never_measured_is_an_empty_answer(api: httpx.Client) -> None:
    assert api.get("/api/v1/series?measurement=flux&field=capacity").json()["series"] == []


def test_the_interactive_documentation_needs_no_other_host(api: httpx.Client) -> None:
    page = api.get("/docs").text
    assert "swagger-ui" in page and "http://" not in page and "https://" not in page
