"""The machine's own print queues: whether each prints, takes jobs, and how many wait. No job, document or person.

A queue is told by a number: its name is set by people and often is a person's. In a school's rooms there are one or
two, and the number stays the queue's own in CUPS as long as it exists.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from schoolpulse_agent import ipp, plainhttp
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("print_queue", "printer_state"): Metric(
        "1", "Print queue: 3 idle, 4 printing, 5 stopped", "Hàng đợi in: 3 rảnh, 4 đang in, 5 bị dừng", "3"
    ),
    ("print_queue", "is_accepting_jobs"): Metric("1", "Print queue takes jobs (1)", "Hàng đợi in nhận lệnh (1)", "1"),
    ("print_queue", "queued_job_count"): Metric("1", "Jobs waiting to be printed", "Số lệnh in đang chờ", "0"),
}
TAGS = {
    ("print_queue", "queue"): Tag(
        "Number of the print queue, not its name", "Số thứ tự của hàng đợi in, không phải tên", "1"
    )
}
WHY = Why("Shows printers that have stopped and jobs that pile up.", "Cho biết máy in bị dừng và lệnh in bị dồn.")
SOCKETS = ("/run/cups/cups.sock", "/private/var/run/cupsd")  # Linux, macOS
FIELDS = {
    "printer-state": "printer_state",
    "printer-is-accepting-jobs": "is_accepting_jobs",
    "queued-job-count": "queued_job_count",
}
ATTRIBUTES = ("printer-id", *FIELDS)  # all that is asked for: not even the name
MOST = 20  # queues
SECONDS = 10.0


def of_cups(sock: socket.socket) -> list[dict[str, ipp.Value]]:
    """Ask a CUPS server for its queues, on a connected socket. Raises OSError, ``BadAnswer`` of ipp and plainhttp."""
    question = ipp.request(ipp.GET_PRINTERS, 1, ATTRIBUTES)
    head = f"POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/ipp\r\nContent-Length: {len(question)}"
    answer = plainhttp.ask(sock, head.encode() + b"\r\n\r\n" + question, SECONDS)
    if answer.status != 200:
        raise plainhttp.BadAnswer(f"CUPS answers with HTTP status {answer.status}")
    return ipp.printers(answer.body, 1)


def readings(queues: list[dict[str, ipp.Value]]) -> Iterator[Reading]:
    """One a queue, told by CUPS' own number of it, by its place in the list where CUPS is too old to have one."""
    for place, queue in enumerate(queues[:MOST], start=1):
        fields = {ours: float(queue[theirs]) for theirs, ours in FIELDS.items() if theirs in queue}
        if fields:
            yield Reading("print_queue", {"queue": str(queue.get("printer-id", place))}, fields)


# Windows: not yet run on a real one

LOCAL = 2  # PRINTER_ENUM_LOCAL
# Bits of a printer's status and attributes (winspool.h).
STOPPED = 0x1 | 0x2 | 0x8 | 0x10 | 0x40 | 0x80 | 0x800 | 0x1000 | 0x40000 | 0x100000 | 0x400000
PRINTING = 0x100 | 0x200 | 0x400 | 0x4000
DELETED, OFFLINE = 0x4, 0x400
# Ports of what prints to a file, a fax or nowhere.
NO_PRINTER = ("PORTPROMPT:", "SHRFAX:", "FILE:", "nul:", "XPSPort:", "Microsoft.Office.OneNote")


def of_windows() -> list[dict[str, ipp.Value]]:
    """The local queues by EnumPrinters, in IPP's terms. Of their texts only the port is looked at. Raises OSError."""
    import ctypes
    from ctypes import byref, c_ulong, c_void_p, c_wchar_p

    class Info(ctypes.Structure):  # PRINTER_INFO_2
        _fields_ = (
            ("names", c_void_p * 3),
            ("port", c_wchar_p),
            ("texts", c_void_p * 9),
            ("attributes", c_ulong),
            ("times", c_ulong * 4),
            ("status", c_ulong),
            ("jobs", c_ulong),
            ("pace", c_ulong),
        )

    windows: Any = ctypes
    spooler = windows.WinDLL("winspool.drv")
    size, count = c_ulong(), c_ulong()
    spooler.EnumPrintersW(LOCAL, None, 2, None, 0, byref(size), byref(count))  # how much it takes
    if not size.value:
        return []
    room = ctypes.create_string_buffer(size.value)
    if not spooler.EnumPrintersW(LOCAL, None, 2, room, size.value, byref(size), byref(count)):
        raise OSError("EnumPrintersW failed")
    found = ctypes.cast(room, ctypes.POINTER(Info))
    listed = [found[n] for n in range(count.value)]
    return [in_ipp(*each) for each in ((one.status, one.attributes, one.jobs) for one in listed if _prints(one.port))]


def _prints(port: str | None) -> bool:
    return bool(port) and not str(port).startswith(NO_PRINTER)


def in_ipp(status: int, attributes: int, jobs: int) -> dict[str, ipp.Value]:
    """What a Windows queue's bits mean in IPP's terms."""
    stopped = status & STOPPED or attributes & OFFLINE
    return {
        "printer-state": 5 if stopped else 4 if status & PRINTING else 3,
        "printer-is-accepting-jobs": not status & DELETED,
        "queued-job-count": jobs,
    }


@dataclass
class Probe:
    """The queues of CUPS, or of Windows' spooler."""

    every: float = 900.0

    patience: ClassVar[float] = 30.0

    def read(self) -> Iterator[Reading]:
        """Yield one reading a queue, with tag ``queue``; nothing where there is no CUPS."""
        if sys.platform == "win32":
            yield from readings(of_windows())
            return
        for path in SOCKETS:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(SECONDS)
                try:
                    sock.connect(path)
                except (FileNotFoundError, ConnectionRefusedError):  # no CUPS, or it is not running
                    continue
                yield from readings(of_cups(sock))
                return
