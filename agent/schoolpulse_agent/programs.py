"""Runs another program within bounds: no shell, plain English, a deadline, a limit of output."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Container, Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # never a folder that a person may write to
NO_WINDOW = 0x08000000  # Windows: CREATE_NO_WINDOW


class ProgramError(Exception):
    """The program ran and did not do what it was asked; the message names it and says why, never its output."""


def run(argv: Sequence[str], seconds: float, limit: int = 1_000_000, codes: Container[int] = (0,)) -> bytes:
    """What a program writes to its standard output.

    It reads nothing, what it says of errors is dropped, and it speaks English (LANG=C). After ``seconds``, or past
    ``limit`` bytes, it and all that it started are killed (on Windows: it alone). Raises OSError if it can't be
    started, TimeoutError (an OSError too), and ProgramError for an exit code that is none of ``codes``, or too much
    output.
    """
    import subprocess

    end = time.monotonic() + seconds
    process = subprocess.Popen(  # noqa: S603
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=os.name == "posix",
        creationflags=NO_WINDOW if sys.platform == "win32" else 0,
    )
    said: list[bytes] = []
    # A pipe can't be waited for with a deadline on Windows; a thread can, everywhere.
    assert process.stdout
    reader = threading.Thread(target=_read, args=(process.stdout, limit, said), name="program", daemon=True)
    try:
        reader.start()  # which fails where this process has all the threads that it may have
        reader.join(max(0.0, end - time.monotonic()))
        if reader.is_alive():
            raise TimeoutError(f"{argv[0]} took more than {seconds:g} s")
        if not said or len(said[0]) > limit:
            raise ProgramError(f"{argv[0]} wrote more than {limit} bytes")
        code = process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{argv[0]} took more than {seconds:g} s") from None
    finally:
        _end(process)
    if code not in codes:
        raise ProgramError(f"{argv[0]} ended with code {code}")
    return said[0]


def powershell(script: str, seconds: float) -> str:
    """What a line of PowerShell writes. Dear (half a second of a processor): for what is asked hourly or less."""
    root = os.environ.get("SYSTEMROOT", r"C:\Windows")
    program = root + r"\System32\WindowsPowerShell\v1.0\powershell.exe"
    return run([program, "-NoProfile", "-NonInteractive", "-Command", script], seconds).decode("ascii", "replace")


def _environment() -> dict[str, str]:
    if os.name != "posix":
        return {**os.environ, "LANG": "C"}  # nothing starts there without the system's own variables
    return {"PATH": PATH, "LANG": "C", "LC_ALL": "C"}


def _read(pipe: IO[bytes], limit: int, said: list[bytes]) -> None:
    with pipe:
        said.append(pipe.read(limit + 1))


def _end(process: Popen[bytes]) -> None:
    """Kill it and all of its group, unless it has ended by itself: then its number may be another's by now."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
