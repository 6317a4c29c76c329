"""A program is run without a shell, in plain English, within a deadline and a limit, and its children go with it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from schoolpulse_agent import programs
from schoolpulse_agent.programs import ProgramError, run


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be taken note of does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_child(pid: str) -> bool:
    try:
        return pid.isdigit() and int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_program_writes_comes_back() -> None:
    assert run(python("print('one'); print('two')"), seconds=20) == b"one\ntwo\n"


def test_no_shell_looks_at_the_arguments() -> None:
    assert run([*python("import sys; print(sys.argv[1])"), "$(id); *"], seconds=20) == b"$(id); *\n"


def test_it_speaks_english_finds_only_the_systems_programs_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    said = run(python("import os, sys; print(sorted(os.environ), os.environ['LANG'], sys.stdin.read())"), seconds=20)
    assert said.decode() == "['LANG', 'LC_ALL', 'PATH'] C \n"


def test_a_program_that_fails_says_so_by_its_name_and_code_alone() -> None:
    with pytest.raises(ProgramError, match=r"ended with code 3$") as failed:
        run(python("import sys; print('Nguyen Van An'); sys.exit(3)"), seconds=20)
    assert "Nguyen" not in str(failed.value)


def test_an_exit_code_that_is_an_answer_is_no_failure() -> None:
    assert (
        run(python("import sys; print('disk failing'); sys.exit(8)"), seconds=20, codes=range(256)) == b"disk failing\n"
    )


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/no/such/program"], seconds=1)


def test_after_the_deadline_it_and_its_children_are_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = "import time; time.sleep(60)"
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {child!r}])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="took more than 2 s"):
        run(python(code), seconds=2)
    assert time.monotonic() - start < 30
    mother, child_pid = map(int, pids.read_text().split())
    end = time.monotonic() + 10
    while is_there(child_pid) and time.monotonic() < end:  # its new parent has to take note
        os.sched_yield()
    assert not is_there(mother) and not is_there(child_pid)


def test_where_there_is_no_thread_to_read_it_a_program_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    before = set(Path("/proc").iterdir())
    with pytest.raises(RuntimeError):
        run(python("import time; time.sleep(60)"), seconds=20)
    assert not [path for path in set(Path("/proc").iterdir()) - before if is_child(path.name)]


def test_one_that_closes_its_output_and_goes_on_is_killed_at_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        run(python("import os, time; os.close(1); time.sleep(60)"), seconds=1)


def test_one_that_writes_without_end_is_stopped_at_the_limit() -> None:
    with pytest.raises(ProgramError, match="wrote more than 1000 bytes"):
        run(python("while True: print('x' * 100)"), seconds=60, limit=1000)


def test_powershell_is_the_systems_own_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(programs, "run", lambda argv, seconds: asked.append((argv, seconds)) or b"3 1\r\n")
    monkeypatch.setenv("SYSTEMROOT", r"D:\Windows")
    assert programs.powershell("1+1", 30) == "3 1\r\n"
    program = r"D:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"
    assert asked == [([program, "-NoProfile", "-NonInteractive", "-Command", "1+1"], 30)]
