"""The command line: what it prints, how it ends, and that it says in one line what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Program, free_port, wait_until

from schoolpulse_agent import __version__, probe, wire

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Config = Callable[[str], Path]
NEVER_SENT = "user names, accounts, who is signed in"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the agent with these arguments to its end."""
    (tmp_path / "run").mkdir()

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "schoolpulse_agent", *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            cwd=tmp_path,
            env={
                **os.environ,
                "RUNTIME_DIRECTORY": str(tmp_path / "run"),
                "SCHOOLPULSE_LANG": "en",
                **environment,
            },
        )

    return run


@pytest.fixture
def config(tmp_path: Path) -> Config:
    def write(text: str) -> Path:
        path = tmp_path / "agent.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def device(tmp_path: Path, url: str, interval: float = 60) -> str:
    """Settings of an enrolled device."""
    return f"""
        [device]
        id = "d01"
        school = "thcs-lac-hong"
        secret = "s3cret"
        [broker]
        url = "{url}"
        [reports]
        interval = {interval}
        folder = "{tmp_path / "outbox"}"
        """


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    """The only line on standard error."""
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("schoolpulse-agent: ")
    return line


# Looking


def test_once_prints_one_report_that_the_wire_takes(run: Run) -> None:
    ended = run("once")
    assert (ended.returncode, ended.stderr) == (0, "")
    printed = json.loads(ended.stdout)
    assert set(printed) == {"t", "m"}
    record = wire.encode_report(wire.Report(1, printed["t"], 0.0, printed["m"]))
    (report,) = wire.decode(wire.encode(1, 1, [record])).reports
    assert report.m == printed["m"]
    assert "cpu,cpu=cpu-total" in report.m
    assert all(fields["up"] == 1.0 for key, fields in report.m.items() if key.startswith("probe,"))


def test_data_names_every_field_that_once_sends(run: Run) -> None:
    sent = {
        f"{wire.split_group(key)[0]}.{field}"
        for key, fields in json.loads(run("once").stdout)["m"].items()
        for field in fields
    }
    ended = run("data")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sent <= set(ended.stdout.split())
    assert "Bản kê dữ liệu".upper() in ended.stdout and "Manifest of the data".upper() in ended.stdout


def test_a_probe_that_is_switched_off_is_not_read_and_named_as_off(run: Run, config: Config) -> None:
    path = config("".join(f"[probe.{name}]\nenabled = false\n" for name in probe.names() if name != "mem"))
    measured = {key.split(",")[0] for key in json.loads(run("--config", path, "once").stdout)["m"]}
    assert measured == {"mem", "probe"}
    said = json.loads(run("--config", path, "data", "--format", "json").stdout)
    on = {section["id"] for section in said["sections"] if section["on"]}
    assert on & set(probe.names()) == {"mem"}
    assert set(probe.names()) <= {section["id"] for section in said["sections"]}


@pytest.mark.parametrize("encoding", ["cp1252", "cp1258", "ascii"])
def test_data_works_where_the_output_knows_no_vietnamese(run: Run, encoding: str) -> None:
    ended = run("data", PYTHONIOENCODING=encoding)  # as on Windows when piped to a file
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0
    assert NEVER_SENT in ended.stdout


@pytest.mark.parametrize("command", ["once", "data"])
def test_a_reader_that_has_gone_is_no_traceback(command: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "schoolpulse_agent", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["enroll", "-h"], ["run", "--help"], ["once", "-h"], ["check", "-h"], ["data", "-h"]]
)
def test_help_says_what_the_command_does(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: schoolpulse-agent")
    if arguments == ["--help"]:
        assert all(command in ended.stdout for command in ("enroll", "run", "once", "check", "data", "--config"))


def test_help_is_vietnamese_throughout(run: Run) -> None:
    for arguments in (["--help"], ["enroll", "--help"], ["data", "--help"]):
        said = run("--lang", "vi", *arguments).stdout
        assert said.startswith("cách dùng: schoolpulse-agent") and "tuỳ chọn:" in said
        assert not re.search("usage|arguments:|options:|show ", said), said


def test_it_says_its_version(run: Run) -> None:
    assert run("--version").stdout == f"schoolpulse-agent {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["walk"], ["once", "--fast"], ["--log-level", "loud", "once"]])
def test_a_wrong_command_line_exits_2_and_shows_the_usage(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: schoolpulse-agent")


# Wrong settings


@pytest.mark.parametrize("command", ["run", "once", "check", "data"])
def test_an_unknown_setting_exits_2_with_one_line(run: Run, config: Config, command: str) -> None:
    path = config("[reports]\nintervall = 5\n")
    ended = run("--config", path, command)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert one_line(ended) == (
        f"schoolpulse-agent: {path}: reports: unknown setting 'intervall': did you mean 'interval'?"
    )


def test_a_settings_file_that_is_not_there_exits_2_with_one_line(run: Run, tmp_path: Path) -> None:
    ended = run("--config", tmp_path / "none.toml", "once")
    assert ended.returncode == 2
    assert str(tmp_path / "none.toml") in one_line(ended)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[device]\nid = "d01"\nschool = "s"',
        '[device]\nid = "d01"\nsecret = "x"',
        '[device]\nschool = "s"\nsecret = "x"',
        '[device]\nid = "d01"\nschool = "s"\nsecret_file = "/dev/null"',
    ],
)
def test_run_without_enrolment_exits_2_and_says_what_is_missing(run: Run, config: Config, text: str) -> None:
    ended = run("--config", config(text), "run")
    assert ended.returncode == 2
    assert "not enrolled: [device] needs id, school and secret" in one_line(ended)


def test_a_secret_file_that_can_not_be_read_exits_2_and_names_it(run: Run, config: Config) -> None:
    ended = run("--config", config('[device]\nid = "d01"\nschool = "s"\nsecret_file = "/none/device.key"'), "run")
    assert ended.returncode == 2
    assert "device.secret_file /none/device.key" in one_line(ended)


def test_run_with_a_folder_that_can_not_be_made_exits_1_and_names_it(run: Run, config: Config, tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    ended = run("--config", config(device(tmp_path, "mqtt://127.0.0.1:1")), "run")
    assert ended.returncode == 1
    assert str(tmp_path / "outbox") in one_line(ended)


# Run


def test_run_keeps_its_reports_when_stopped_while_the_broker_is_dead(config: Config, tmp_path: Path) -> None:
    text = device(tmp_path, f"mqtt://127.0.0.1:{free_port()}", interval=1)
    (tmp_path / "run").mkdir()
    program = Program(
        [sys.executable, "-m", "schoolpulse_agent", "--config", str(config(text)), "run"],
        tmp_path,
        RUNTIME_DIRECTORY=str(tmp_path / "run"),
    )
    try:
        wait_until(lambda: list(tmp_path.glob("run/*/*.live")), 20, "a report is kept")
    finally:
        code = program.stop(signal.SIGTERM)
    assert code == 0, program.printed()
    assert "Traceback" not in program.printed()
    assert list((tmp_path / "outbox").glob("*.seg"))
