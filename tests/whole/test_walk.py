"""The whole walk as its users see it: one command, a link, a live chart, a number by the API, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright
from running import ROOT, Demo, free_port, wait_until

from schoolpulse_agent import probe

CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
]


@pytest.fixture(scope="module")
def page(demo: Demo, tmp_path_factory: pytest.TempPathFactory):
    """A browser that has used the printed link."""
    fresh = subprocess.run(
        [sys.executable, "-m", "schoolpulse_api", "--home", demo.home, "link"],
        capture_output=True,
        text=True,
        check=True,
        env={"SP_HTTP_PORT": str(demo.http), "PATH": "/usr/bin"},
    ).stdout.strip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        made = browser.new_page(viewport={"width": 1280, "height": 900})
        made.failures = []
        made.on("requestfailed", lambda request: made.failures.append(request.url))
        made.on("pageerror", lambda error: made.failures.append(str(error)))
        made.goto(fresh)
        yield made
        browser.close()


def own_device(demo: Demo) -> dict:
    with demo.client() as client:
        return next(each for each in client.get("/api/v1/devices").json()["items"] if not each["simulated"])


def test_the_api_answers_with_this_machines_values_of_the_last_15_seconds(demo: Demo) -> None:
    device = own_device(demo)

    def fresh() -> list | None:
        query = {
            "measurement": "mem",
            "field": "total",
            "where": f"device={device['id']}",
            "every": "1s",
            "start": "-5m",
        }
        lines = client.get("/api/v1/series", params=query).json()["series"]
        points = lines[0]["points"] if lines else []
        return points if points and time.time() - points[-1][0] < 15 else None

    with demo.client() as client:
        points = wait_until(fresh, 30, "a value less than 15 s old")
    memory = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert points[-1][1] == memory * 1024


def test_the_device_page_draws_live_charts_of_this_machine(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.url}/")
    page.locator(".tile.online").first.wait_for(timeout=20_000)
    page.get_by_text("Máy chủ (máy này)").click()
    page.wait_for_url("**/device/*")

    def drawn() -> list[int]:
        """How many points each chart's lines have, as ECharts itself says."""
        return page.evaluate(
            """() => [...document.querySelectorAll('.chart')].map(box => {
                const chart = getElement(Number(box.id.slice(1))).chart;
                return (chart.getOption().series ?? []).reduce((sum, line) => sum + line.data.length, 0); })"""
        )

    before = wait_until(lambda: (found := drawn()) and min(found) >= 2 and found, 40, "every chart has a line")
    wait_until(lambda: drawn()[0] > before[0], 40, "the CPU chart went on")
    assert "%" in page.locator(".value").first.inner_text()
    page.screenshot(path=str(demo.home / "device.png"), full_page=True)
    assert page.failures == []


def test_the_pages_speak_vietnamese_first_and_english_on_request(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.url}/")
    page.get_by_text("41 thiết bị").wait_for()
    page.get_by_text("mô phỏng").first.wait_for()
    page.locator(".language").click()
    page.get_by_text("41 devices").wait_for()
    page.get_by_text("simulated").first.wait_for()
    page.locator(".language").click()
    page.get_by_text("41 thiết bị").wait_for()


def test_a_sign_in_link_works_once_and_nothing_opens_without_one(demo: Demo) -> None:
    link = demo.sign_in_link()
    with httpx.Client(base_url=demo.url) as first, httpx.Client(base_url=demo.url) as second:
        assert first.get(link).status_code == 303
        assert first.get("/", headers={"accept": "text/html"}).status_code == 200
        spent = second.get(link)
        assert spent.status_code == 403 and "schoolpulse link" in spent.text
        sent_on = second.get("/", headers={"accept": "text/html"})
        assert sent_on.status_code == 303 and sent_on.headers["location"].startswith("/sign-in")
        assert second.get("/api/v1/devices").status_code == 401


def test_the_token_for_scripts_is_readable_by_its_owner_alone(demo: Demo) -> None:
    assert (demo.home / "token").stat().st_mode & 0o777 == 0o600


def test_metrics_account_for_every_report(demo: Demo) -> None:
    def balanced() -> bool:
        found = {}
        for line in client.get("/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found["schoolpulse_reports_accepted_total"] == found["schoolpulse_reports_stored_total"] > 40

    with demo.client() as client:
        wait_until(balanced, 30, "all that was accepted is stored")


def test_the_stream_tells_of_reports_as_they_come(demo: Demo) -> None:
    device = own_device(demo)["id"]
    with demo.client() as client, client.stream("GET", "/api/v1/stream", params={"device": device}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        event = next(line for line in lines if line.startswith("event:"))
        data = json.loads(next(line for line in lines if line.startswith("data:"))[5:])
    assert event == "event: report"
    assert data["device"] == device and time.time() - data["t"] / 1000 < 15
    known = probe.metrics()
    assert all((group.split(",")[0], field) in known for group, fields in data["m"].items() for field in fields)


def test_a_port_that_is_taken_is_named_with_what_to_set(demo: Demo, tmp_path: Path) -> None:
    for variable, port in (("SP_HTTP_PORT", demo.http), ("SP_MQTT_PORT", demo.mqtt)):
        ports = {"SP_HTTP_PORT": str(free_port()), "SP_MQTT_PORT": str(free_port()), variable: str(port)}
        ended = subprocess.run(
            [sys.executable, "-m", "schoolpulse_api", "up", "--demo"],
            env={"SP_HOME": str(tmp_path), "PATH": "/usr/bin", **ports},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 2
        assert variable in ended.stderr and str(port) in ended.stderr and "Traceback" not in ended.stderr


def test_a_second_centre_in_the_same_folder_is_refused_and_says_who_is_there(demo: Demo) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "schoolpulse_api", "up"],
        env={
            "SP_HOME": str(demo.home),
            "SP_HTTP_PORT": str(free_port()),
            "SP_MQTT_PORT": str(free_port()),
            "PATH": "/usr/bin",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2 and f"process {demo.process.pid}" in ended.stderr
    assert "stopped" not in ended.stdout  # nothing had been started


def test_a_link_for_a_folder_without_a_centre_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schoolpulse_api", "link", "--home", str(tmp_path)]
    ended = subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "no centre" in ended.stderr and str(tmp_path) in ended.stderr


def test_ctrl_c_stops_cleanly_and_a_new_start_goes_on_with_the_same_data(tmp_path: Path) -> None:
    first = Demo(tmp_path).ready()
    with first.client() as client:
        wait_until(
            lambda: client.get("/api/v1/series?measurement=report&field=seq").json()["series"], 30, "a stored report"
        )
    token = (first.home / "token").read_text()
    assert first.stop(signal.SIGINT) == 0
    assert "stopped" in first.printed() and "Traceback" not in first.printed()
    second = Demo(tmp_path).ready()
    assert (second.home / "token").read_text() == token
    with second.client() as client:
        answer = client.get("/api/v1/series?measurement=report&field=seq&aggregate=count&every=1d&start=-1h").json()
    assert answer["series"][0]["points"][0][1] >= 1
    assert second.stop() == 0


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.index("make demo") < readme.index("make test")
