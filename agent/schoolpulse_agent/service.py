"""What the agent says to systemd, and how it logs under it: sd_notify(3) in a few lines, nothing where nobody asks."""

from __future__ import annotations

import os


def ready() -> None:
    """The start is done: ``systemctl start`` returns. Without a service manager nothing happens; raises nothing."""
    _say("READY=1")


def alive() -> None:
    """The loop still turns: to be said more often than ``WatchdogSec``, or systemd starts the agent anew."""
    _say("WATCHDOG=1")


def stopping() -> None:
    """The end has been asked for and takes a moment."""
    _say("STOPPING=1")


def log_format() -> str:
    """How a log line looks; the journal adds the time by itself."""
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    return time + "%(levelname)s %(name)s: %(message)s"


def _say(state: str) -> None:
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return
    import socket

    if where.startswith("@"):  # an abstract socket, which no file stands for
        where = "\0" + where[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)  # a manager that does not read must not stop the reports
            to.sendto(state.encode(), where)
    except OSError:  # it has gone, or is busy: the watchdog decides
        return
