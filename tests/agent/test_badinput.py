"""What goes wrong at a school: one line in the technician's language that says what to do, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from fakecentre import FakeCentre
from running import Program, free_port, wait_until

TOKEN = f"spe_{'a' * 32}.{'0' * 64}"
BY_LOCALE = {"vi": {"LC_ALL": "C"}, "en": {"LC_ALL": "en_US.UTF-8"}}
# As a machine may be: no clock, no room on its disk.
DEAD_CLOCK = "import time; real = time.time; first = real(); time.time = lambda: real() - first + 60.0"
FULL_DISK = """
import errno, os
def full(*_): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = os.fdatasync = full
"""
MAIN = "import sys; from schoolpulse_agent.__main__ import main; sys.exit(main(sys.argv[1:]))"

Failure = Callable[..., str]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "agent.toml"


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    made = FakeCentre()
    yield made
    made.close()


@pytest.fixture(params=["vi", "en"])
def spoken(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def failure(tmp_path: Path, config: Path, spoken: str) -> Failure:
    """Run the real command, which is to fail with this code; return its one line. ``machine``: code to run before."""
    (tmp_path / "run").mkdir()

    def failure(code: int, *arguments: str, machine: str = "", before: tuple[str, ...] = ()) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "SCHOOLPULSE"))}
        ended = subprocess.run(
            [*before, sys.executable, "-c", f"{machine}\n{MAIN}", "--config", str(config), *arguments],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            cwd=tmp_path,
            env={**environment, **BY_LOCALE[spoken], "RUNTIME_DIRECTORY": str(tmp_path / "run")},
        )
        assert (ended.returncode, ended.stdout) == (code, ""), ended.stdout + ended.stderr
        (line,) = ended.stderr.splitlines()
        assert line.startswith("schoolpulse-agent: ") and line.isascii() == (spoken == "en"), line
        return line

    return failure


def write(config: Path, text: str) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(text)


def says(line: str, spoken: str, en: str, vi: str) -> bool:
    return (en if spoken == "en" else vi) in line


@pytest.mark.parametrize("url", ["http://centre.example:8443", "centre", "https://u:p@centre", "mqtts://centre:8883"])
def test_a_wrong_url(failure: Failure, spoken: str, url: str) -> None:
    assert says(failure(1, "enroll", url, TOKEN), spoken, "give it as https://", "viết theo dạng https://")


@pytest.mark.parametrize("token", ["spe_", TOKEN[:-1], "x" * 101, ""])
def test_half_a_token(failure: Failure, spoken: str, token: str) -> None:
    assert says(failure(1, "enroll", "https://centre.example", token), spoken, "copy it again", "chép lại mã")


def test_a_spent_token(failure: Failure, spoken: str, centre: FakeCentre) -> None:
    centre.tokens.clear()
    line = failure(1, "enroll", centre.url, centre.token)
    assert says(line, spoken, "used up", "đã dùng hết") and says(line, spoken, "a new one", "mã mới")


def test_a_host_that_nobody_knows(failure: Failure, spoken: str) -> None:
    line = failure(1, "enroll", "https://none.invalid", TOKEN)
    assert says(line, spoken, "nobody knows this name", "không tìm thấy tên máy chủ")


def test_a_centre_that_does_not_run(failure: Failure, spoken: str) -> None:
    line = failure(1, "enroll", f"https://127.0.0.1:{free_port()}", TOKEN)
    assert says(line, spoken, "nothing listens there", "không có dịch vụ nào ở đó")


def test_a_token_of_another_centre(failure: Failure, spoken: str, centre: FakeCentre) -> None:
    line = failure(1, "enroll", centre.url, TOKEN)
    assert says(line, spoken, "is not the centre of this token", "không phải trung tâm của mã đăng ký này")


def test_a_certificate_of_another_name(failure: Failure, spoken: str) -> None:
    centre = FakeCentre(name="other.example")
    line = failure(1, "enroll", centre.url, centre.token)
    centre.close()
    assert says(line, spoken, "is for another name", "mang tên khác") and centre.tokens


def test_a_certificate_that_has_expired(failure: Failure, spoken: str) -> None:
    class Old(trustme.CA):
        def issue_cert(self, *names: str, **_: object) -> trustme.LeafCert:
            now = datetime.now(UTC)
            return super().issue_cert(*names, not_before=now - timedelta(days=9), not_after=now - timedelta(days=2))

    centre = FakeCentre(ca=Old())
    line = failure(1, "enroll", centre.url, centre.token)
    centre.close()
    assert says(line, spoken, "not valid today: set this machine's clock", "chỉnh ngày giờ") and centre.tokens


def test_a_machine_that_is_enrolled_already(failure: Failure, spoken: str, config: Path, centre: FakeCentre) -> None:
    write(config, '[device]\nid = "d1"\nschool = "s"\nsecret = "x"\n')
    line = failure(2, "enroll", centre.url, centre.token)
    assert says(line, spoken, "enrolled already, as d1", "đã đăng ký, mã d1") and "--force" in line


@pytest.mark.parametrize("command", ["run", "once", "check", "data"])
def test_settings_that_are_no_toml(failure: Failure, spoken: str, config: Path, command: str) -> None:
    write(config, "[device]\nid = d1\n")
    line = failure(2, command)
    assert str(config) in line and says(line, spoken, "not valid TOML", "sửa dòng 2, cột 6")


@pytest.mark.parametrize(
    ("text", "en", "vi"),
    [
        ("[reports]\nintervall = 5\n", "did you mean 'interval'?", "ý bạn là 'interval'?"),
        ("[reports]\ninterval = 'x'\n", "is not a number", "không phải là số"),
        ("[reports]\ninterval = 0\n", "must be 1 to 3600", "phải từ 1 đến 3600"),
        ("[broker]\nurl = 'mqtt://10.1.1.1'\n", "is not encrypted", "không mã hóa"),
        ("[broker]\nurl = 'x'\n", "give it as mqtts://", "viết theo dạng mqtts://"),
        ("[probe.cpu]\nenabled = 1\n", "is not true or false", "phải là true hoặc false"),
        ("[device]\nid = 'a b'\n", "as the centre gave it", "như trung tâm đã cấp"),
        ("", "this machine is not enrolled", "máy này chưa đăng ký"),
    ],
)
def test_wrong_settings(failure: Failure, spoken: str, config: Path, text: str, en: str, vi: str) -> None:
    write(config, text)
    assert says(failure(2, "run"), spoken, en, vi)


def test_no_settings_file(failure: Failure, spoken: str, config: Path) -> None:
    line = failure(2, "run")
    assert str(config) in line and says(line, spoken, "--config", "chọn tệp khác bằng --config")


def powerless() -> tuple[str, ...]:
    """What to put before a command so that rights of files count for it, which they don't for root."""
    if os.geteuid():
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def test_settings_that_may_not_be_read(failure: Failure, spoken: str, config: Path) -> None:
    write(config, "")
    config.chmod(0)
    line = failure(2, "once", before=powerless())
    assert str(config) in line and says(line, spoken, "as root (sudo)", "quyền root (sudo)")


def test_a_folder_of_settings_that_may_not_be_written(
    failure: Failure, spoken: str, config: Path, centre: FakeCentre
) -> None:
    config.parent.mkdir(mode=0o500)
    line = failure(1, "enroll", centre.url, centre.token, before=powerless())
    assert str(config.parent) in line and says(line, spoken, "as root (sudo)", "quyền root (sudo)")
    assert centre.received == b""


def test_a_folder_of_reports_that_may_not_be_written(
    failure: Failure, spoken: str, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "outbox").mkdir(mode=0o500)
    more = f'[reports]\nfolder = "{tmp_path}/outbox"\n'
    write(config, f'[device]\nid = "d1"\nschool = "s"\nsecret = "x"\n{more}')
    line = failure(1, "run", before=powerless())
    assert f"{tmp_path}/outbox" in line and says(line, spoken, "Permission denied", "không đủ quyền")


def test_a_full_disk_at_enrolment(failure: Failure, spoken: str, config: Path, centre: FakeCentre) -> None:
    line = failure(1, "enroll", centre.url, centre.token, machine=FULL_DISK)
    assert str(config.parent) in line and says(line, spoken, "free some space", "ổ đĩa đã đầy; giải phóng dung lượng")
    assert centre.received == b"" and list(config.parent.iterdir()) == []


def test_a_dead_clock_hinders_no_enrolment(config: Path, centre: FakeCentre) -> None:
    command = [sys.executable, "-c", f"{DEAD_CLOCK}\n{MAIN}", "--config", str(config)]
    ended = subprocess.run([*command, "enroll", centre.url, centre.token], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("arguments", "en", "vi"), [((), "required: COMMAND", "lỗi dòng lệnh"), (("walk",), "", "")])
def test_a_wrong_command_line(config: Path, spoken: str, arguments: tuple[str, ...], en: str, vi: str) -> None:
    command = [sys.executable, "-m", "schoolpulse_agent", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "SCHOOLPULSE"))}
    ended = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, env={**environment, **BY_LOCALE[spoken]}
    )
    assert ended.returncode == 2 and ended.stderr.startswith("usage: ")
    line = ended.stderr.splitlines()[-1]
    assert says(line, spoken, en, vi) and line.isascii() == (spoken == "en")


@pytest.mark.parametrize("spoken", ["vi", "en"])
def test_the_command_line_may_ask_for_a_language(spoken: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "schoolpulse_agent", "--lang", spoken, "--help"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert ended.returncode == 0
    assert ("Mã kết thúc: 0 xong" in ended.stdout) == (spoken == "vi")
    assert ("Exit codes: 0 done" in ended.stdout) == (spoken == "en")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp1258"])
def test_a_terminal_that_shows_no_vietnamese_gets_it_as_well_as_it_can(encoding: str) -> None:
    import pty

    control, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "schoolpulse_agent", "--lang", "vi", "--help"],
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while more := os.read(control, 65_536):
                shown += more
        except OSError:  # its end, on Linux
            pass
    os.close(control)
    assert process.returncode == 0 and b"schoolpulse-agent" in shown and b"Traceback" not in shown


@pytest.mark.parametrize("machine", [FULL_DISK, DEAD_CLOCK], ids=["full disk", "dead clock"])
def test_an_agent_that_runs_survives_it_and_keeps_its_reports(config: Path, tmp_path: Path, machine: str) -> None:
    (tmp_path / "run").mkdir()
    url, folder = f"mqtt://127.0.0.1:{free_port()}", tmp_path / "outbox"
    device = '[device]\nid = "d1"\nschool = "s"\nsecret = "x"\n'
    write(config, f'{device}[broker]\nurl = "{url}"\n[reports]\ninterval = 1\nfolder = "{folder}"\n')
    command = [sys.executable, "-c", f"{machine}\n{MAIN}", "--config", str(config), "run"]
    service = Program(command, tmp_path / "log", RUNTIME_DIRECTORY=str(tmp_path / "run"))
    try:
        wait_until(lambda: [*tmp_path.glob("run/*/*.live")], 20, "a report is kept")
    finally:
        code = service.stop()
    assert code == 0 and "Traceback" not in service.printed(), service.printed()
    assert [*tmp_path.glob("run/*/*.live"), *folder.glob("*.seg")], service.printed()
