"""What is said of a program's cost is what the program has done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))
import footprint

BUSY = """
import resource, socket, subprocess, sys, threading, time
work = "import sys, time\\nwhile time.process_time() < 0.3: pass\\nprint(flush=True)\\nsys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
thread = threading.Thread(target=lambda: [None for _ in iter(lambda: time.thread_time() < 0.2, False)])
thread.start()
thread.join()
listening = socket.create_server(("127.0.0.1", 0))
sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sending.sendto(b"x", listening.getsockname())
for _ in range(20): time.sleep(0.001)
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def busy() -> Iterator[tuple[int, float, int]]:
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin and program.stdout
        cpu, switches = program.stdout.readline().split()
        yield program.pid, float(cpu), int(switches)
        program.stdin.close()


def test_cpu_is_that_of_all_threads_ended_or_not_and_of_children(busy: tuple[int, float, int]) -> None:
    pid, own, _ = busy
    assert own >= 0.2
    [child] = psutil.Process(pid).children()
    assert footprint.spent(pid).cpu == pytest.approx(own + footprint.spent(child.pid).cpu, abs=0.05)


def test_wakeups_are_what_the_kernel_counts(busy: tuple[int, float, int]) -> None:
    pid, _, own = busy
    assert own >= 20
    [child] = psutil.Process(pid).children()
    assert footprint.spent(pid).wakeups - footprint.spent(child.pid).wakeups == pytest.approx(own, abs=8)


def test_a_port_that_listens_is_one_and_a_socket_that_only_sends_is_none(busy: tuple[int, float, int]) -> None:
    pid, _, _ = busy
    held = footprint.held(pid)
    assert (held.ports, held.processes) == (1, 2)
    assert 0 < held.pss < held.rss


def test_a_touched_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = footprint.touched(tmp_path)
    assert footprint.touched(tmp_path) == before
    (tmp_path / "a").write_text("12")
    assert footprint.touched(tmp_path) != before
