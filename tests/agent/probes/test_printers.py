"""Print queues of a real CUPS: their states and how many jobs wait, and no name of a queue, a job or a person."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schoolpulse_agent import ipp, plainhttp
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import printers
from schoolpulse_agent.probes.printers import Probe, in_ipp, readings

CUPSD = """\
Listen {folder}/s
Browsing No
DefaultAuthType None
WebInterface No
<Location />
  Order allow,deny
  Allow all
</Location>
<Policy default>
  <Limit All>
    Order allow,deny
    Allow all
  </Limit>
</Policy>
"""
FILES = """\
FileDevice Yes
ServerRoot {folder}
RequestRoot {folder}/spool
CacheDir {folder}/cache
StateDir {folder}/state
TempDir {folder}/tmp
Printcap
AccessLog {folder}/access
ErrorLog {folder}/error
PageLog {folder}/page
"""
ADD, PAUSE, REJECT, PRINT = 0x4003, 0x0010, 0x4009, 0x0002


class Cups:
    """A CUPS server of this test's own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "s"
        for name in ("spool", "cache", "state", "tmp"):
            (folder / name).mkdir()
        (folder / "cupsd.conf").write_text(CUPSD.format(folder=folder))
        (folder / "files.conf").write_text(FILES.format(folder=folder))
        command = ["/usr/sbin/cupsd", "-f", "-c", str(folder / "cupsd.conf"), "-s", str(folder / "files.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, (folder / "error").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.socket)) == 0

    def do(self, what: int, queue: str, *attributes: bytes, data: bytes = b"", path: str = "/admin/") -> None:
        body = struct.pack(">BBHI", 2, 0, what, 1) + b"\1" + ipp.attribute(ipp.CHARSET, "attributes-charset", b"utf-8")
        body += ipp.attribute(ipp.LANGUAGE, "attributes-natural-language", b"en")
        body += ipp.attribute(0x45, "printer-uri", f"ipp://localhost/printers/{queue}".encode())
        body += ipp.attribute(0x42, "requesting-user-name", b"nguyen.van.an")
        body += ipp.attribute(0x42, "job-name", b"De thi Nguyen Van An.docx") if data else b""
        body += (b"\4" + b"".join(attributes) if attributes else b"") + b"\3" + data
        head = (
            f"POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/ipp\r\nContent-Length: {len(body)}"
        )
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            answer = plainhttp.ask(sock, head.encode() + b"\r\n\r\n" + body, 20)
        assert answer.status == 200 and answer.body[2:4] == b"\0\0", answer

    def add(self, queue: str) -> None:
        ready = (
            ipp.attribute(0x45, "device-uri", b"file:///dev/null"),
            ipp.attribute(0x41, "printer-info", "Máy in của Nguyễn Văn An".encode()),
            ipp.attribute(0x41, "printer-location", "Phòng của An".encode()),
            ipp.attribute(ipp.BOOLEAN, "printer-is-accepting-jobs", b"\1"),
            ipp.attribute(ipp.ENUM, "printer-state", struct.pack(">i", 3)),
        )
        self.do(ADD, queue, *ready)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def cups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cups]:
    folder = Path(tempfile.mkdtemp(prefix="cups"))  # the name of a socket is at most 107 bytes long
    running = None
    try:
        running = Cups(folder)
        monkeypatch.setattr(printers, "SOCKETS", (str(folder / "none"), str(running.socket)))
        yield running
    finally:
        if running:
            running.stop()
        shutil.rmtree(folder)


def found() -> dict[str, dict[str, float]]:
    return {reading.tags["queue"]: reading.fields for reading in Probe().read()}


def test_queues_of_a_real_cups_are_told_by_number(cups: Cups) -> None:
    assert found() == {}
    idle = {"printer_state": 3.0, "is_accepting_jobs": 1.0, "queued_job_count": 0.0}
    cups.add("May_in_co_Lan")
    cups.add("HP_NguyenVanAn")
    assert found() == {"1": idle, "2": idle}
    cups.do(PAUSE, "May_in_co_Lan")
    for _ in range(2):
        cups.do(PRINT, "May_in_co_Lan", data=b"Nguyen Van An\n", path="/printers/May_in_co_Lan")
    cups.do(REJECT, "HP_NguyenVanAn")
    cups.add("A_first_by_name")  # the others keep their numbers
    assert found() == {
        "1": {"printer_state": 5.0, "is_accepting_jobs": 1.0, "queued_job_count": 2.0},
        "2": {"printer_state": 3.0, "is_accepting_jobs": 0.0, "queued_job_count": 0.0},
        "3": idle,
    }
    said = repr(list(Probe().read())).lower()
    assert not any(word in said for word in ("nguyen", "lan", "an_", "docx", "first"))


def test_neither_names_nor_jobs_are_even_asked_for() -> None:
    asked = ipp.request(ipp.GET_PRINTERS, 1, printers.ATTRIBUTES)
    assert b"name" not in asked and b"info" not in asked and b"location" not in asked and b"requesting" not in asked


def test_without_cups_or_while_it_is_stopped_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="cups") as folder, socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{folder}/left")  # nobody listens there
        monkeypatch.setattr(printers, "SOCKETS", (f"{folder}/none", f"{folder}/left"))
        assert list(Probe().read()) == []


def test_a_server_that_refuses_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(plainhttp.BadAnswer, match="status 403"):
            printers.of_cups(ours)


def test_a_queue_without_a_number_is_told_by_its_place_and_only_the_first_are() -> None:
    told = list(readings([{"printer-state": 3}] * 50))
    assert [each.tags["queue"] for each in told] == [str(n) for n in range(1, printers.MOST + 1)]
    assert list(readings([{"printer-id": 7}])) == []


@pytest.mark.parametrize(
    ("status", "attributes", "expected"),
    [(0, 0x40, 3), (0x400, 0, 4), (0x10, 0, 5), (0x400 | 0x8, 0, 5), (0, 0x400, 5), (0x20000, 0, 3)],
)
def test_windows_bits_are_told_in_ipps_terms(status: int, attributes: int, expected: int) -> None:
    assert in_ipp(status, attributes, 2)["printer-state"] == expected
    assert in_ipp(4, 0, 0)["printer-is-accepting-jobs"] is False


class Spooler:
    """EnumPrinters of winspool.drv, with the layout of PRINTER_INFO_2."""

    def __init__(self, queues: list[tuple[str, int, int, int]]) -> None:
        self.kept: list[Any] = []
        self.body = b"".join(self._row(*each) for each in queues)
        self.count = len(queues)

    def _row(self, port: str, attributes: int, status: int, jobs: int) -> bytes:
        texts = [ctypes.create_unicode_buffer(text) for text in ("Máy in của An", port)]
        self.kept += texts
        name, where = (ctypes.addressof(text) for text in texts)
        numbers = (attributes, 1, 1, 0, 0, status, jobs, 9)
        return struct.pack("@3PP9P8I", name, name, name, where, *[name] * 9, *numbers)

    def EnumPrintersW(self, flags: int, *rest: Any) -> int:  # noqa: N802
        name, level, room, given, needed, count = rest
        assert (flags, name, level) == (2, None, 2)
        needed._obj.value = len(self.body)
        if room is None or given < len(self.body):
            return 0
        ctypes.memmove(room, self.body, len(self.body))
        count._obj.value = self.count
        return 1


def test_windows_tells_its_real_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    spooler = Spooler([("PORTPROMPT:", 0, 0, 0), ("USB001", 0x40, 0x10, 3), ("IP_10.0.0.9", 0x40, 0, 0)])
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "c_ulong", ctypes.c_uint32)  # as long as Windows has it
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: {"winspool.drv": spooler}[name], raising=False)
    assert list(Probe().read()) == [
        Reading(
            "print_queue", {"queue": "1"}, {"printer_state": 5.0, "is_accepting_jobs": 1.0, "queued_job_count": 3.0}
        ),
        Reading(
            "print_queue", {"queue": "2"}, {"printer_state": 3.0, "is_accepting_jobs": 1.0, "queued_job_count": 0.0}
        ),
    ]
    spooler.body, spooler.count = b"", 0
    assert list(Probe().read()) == []


def test_cups_is_ended_with_each_test(cups: Cups) -> None:
    cups.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(cups.process.pid, 0)
