"""The agent's loop: one thread samples when it is time, keeps first, sends second, and waits for the rest.

The same loop runs one real agent or a lab of simulated ones.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from schoolpulse_agent import identity, inventory, origin, service
from schoolpulse_agent.care import Care, Stock
from schoolpulse_agent.configuration import Configuration
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.footprint import Footprint
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.renewal import Renewal
from schoolpulse_agent.settings import Settings, SettingsError, load
from schoolpulse_agent.wallclock import WallClock
from schoolpulse_agent.wire import Groups

log = logging.getLogger(__name__)

REST = 90.0  # seconds at most without a look around: systemd waits 180 for a word
TROUBLE = 5.0  # seconds that a sender rests after an unexpected error


class Stop:
    """Ends ``run`` from a signal handler or another thread."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self.is_set = False

    def set(self) -> None:
        """Ask for the end; ``run`` returns within moments."""
        self.is_set = True
        with contextlib.suppress(OSError):  # already full: it will be read
            self._write.send(b"x")

    def fileno(self) -> int:
        """So that select can wait for it."""
        return self._read.fileno()


class Agent:
    """One sender: what it reads, what it keeps, and its connection."""

    def __init__(
        self,
        read: Callable[[], Groups],
        outbox: Outbox,
        link: Link,
        interval: float,
        care: Care | None = None,
        lock: int | None = None,
    ) -> None:
        """``care``: what a machine's own agent does beside; simulated ones do without."""
        self.wallclock = link.wallclock
        self._care, self._lock = care, lock
        self._paused = 0.0
        self.read, self.outbox, self.link, self.interval = read, outbox, link, interval
        # The same device always reports at the same point of its interval, and a city's devices spread over it.
        phase = zlib.crc32(link.device.encode()) / 2**32 * interval
        self._due = time.monotonic() + min(phase, interval)

    @property
    def replaced(self) -> bool:
        """Whether the settings file now holds another identity: this agent is to end and a new one to be built."""
        return self._care is not None and self._care.replaced

    @property
    def restart(self) -> bool:
        """Whether its process is to end, and to be started again by whoever started it."""
        return self._care is not None and self._care.restart

    def due(self) -> float:
        """When ``work`` must be called next at the latest (monotonic seconds)."""
        return max(self._paused, min(self._due, self.link.due()))

    def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        self._paused = time.monotonic() + seconds

    def work(self) -> None:
        """Do whatever is due now."""
        now = time.monotonic()
        if now < self._paused:
            return
        if now >= self._due:
            self._due += self.interval * (1 + (now - self._due) // self.interval)  # after a sleep: one, no burst
            self.sample()
            self.outbox.tick()
        self.link.work()
        if self._care:
            self._care.work()
            self._report_every(self._care.interval)

    def failed(self, why: Exception) -> None:
        """After an unexpected error: rest, and give up what may have brought it."""
        self.pause(TROUBLE)
        if self._care:
            self._care.failed(type(why).__name__)  # its text may name a file, and this goes to the centre

    def ended(self) -> None:
        """It was asked to end; ``close`` follows."""
        if self._care:
            self._care.ended()

    def _report_every(self, seconds: float) -> None:
        if seconds != self.interval:
            self.interval = seconds
            self._due = min(self._due, time.monotonic() + seconds)

    def sample(self) -> None:
        """Read once and keep the report."""
        groups = self.read()
        outbox = self.outbox
        waiting = sum(map(len, outbox.held().values()))
        groups["agent"] = {
            "waiting": float(waiting),
            "dropped": float(outbox.dropped),
            "damaged": float(outbox.damaged),
        }
        if self._care and self._care.footprint:
            with contextlib.suppress(Exception):  # a system that does not tell is no reason to send no report
                groups["agent"].update(self._care.footprint.look())
        if self.wallclock.settled:
            groups["agent"]["clock_offset"] = self.wallclock.offset_ms / 1000
        outbox.append(self.wallclock.now(), round(self.wallclock.uptime(), 3), groups)

    def close(self, patience: float = 2.0) -> None:
        """Say goodbye, wait up to so many seconds for receipts, and put what is still unconfirmed on disk."""
        self.link.close(patience)
        self.outbox.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def build(settings: Settings, new: bool = False, alone: bool = True) -> Agent:
    """The agent that these settings describe; ``new``: its identity is of just now; ``alone``: in a process of its own.

    Raises SettingsError and OSError (its folder can't be used).
    """
    folder = Path(settings.reports.folder)
    lock = _require_alone(folder)
    configuration = Configuration(settings)
    cycle = Cycle(configuration.settings.probes)
    cycle.prime()
    hardware = identity.read().fingerprint
    measured = origin.sort_out(folder, settings.device.id, hardware)
    outbox = Outbox(folder, keep_bytes=int(settings.reports.keep_mb * 2**20))
    origin.note(folder, measured, outbox.held(), outbox.epoch)
    link = Link(settings, outbox, WallClock(), hardware=hardware)
    renewal = Renewal(settings, link, new=new) if settings.path and settings.centre.url else None
    footprint = Footprint(configuration.settings.limits) if alone else None
    update = None
    frozen = getattr(sys, "frozen", False)  # into a program of its own, which can't start another version's files
    if settings.path and settings.centre.url and settings.update.enabled and not frozen:
        from schoolpulse_agent.update import Update

        update = Update(settings, link)
    care = Care(link, cycle, configuration, Stock(inventory.read), renewal, update, footprint)
    return Agent(cycle.read, outbox, link, care.interval, care, lock)


def _require_alone(folder: Path) -> int | None:
    """Take the folder's lock, which ends with the process: two agents would delete each other's reports."""
    try:
        import fcntl
    except ImportError:  # Windows: the service manager runs one
        return None
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the descriptor stays open as long as the process lives
    except OSError:
        os.close(lock)
        raise SettingsError(
            f"another agent uses reports.folder {folder}: end it or name another",
            f"một agent khác đang dùng reports.folder {folder}: dừng nó hoặc chọn thư mục khác",
        ) from None
    return lock


def run(agents: Sequence[Agent], stop: Stop) -> None:
    """Run agents until stop is set or one of them is to begin anew, as another device or version; then close them."""
    service.ready()
    try:
        while not stop.is_set and not any(agent.replaced or agent.restart for agent in agents):
            for agent in agents:
                try:
                    agent.work()
                except Exception as why:  # one sender's trouble must not end the others
                    log.exception("%s: trying again in %g s", agent.link.device, TROUBLE)
                    agent.failed(why)
            service.alive()
            timeout = min(agent.due() for agent in agents) - time.monotonic()
            readers: list[Any] = [stop]
            writers: list[Any] = []
            for agent in agents:
                sock = agent.link.socket()
                if sock is None:
                    continue
                readers.append(sock)
                if getattr(sock, "pending", int)():  # decrypted bytes that select can't see
                    timeout = 0.0
                if agent.link.wants_write():
                    writers.append(sock)
            select.select(readers, writers, [], max(0.0, min(timeout, REST)))
    finally:
        if stop.is_set:
            service.stopping()
            for agent in agents:
                agent.ended()
        end = time.monotonic() + 2.0
        for agent in agents:
            agent.close(max(0.1, end - time.monotonic()))


def keep_running(own: Settings, stop: Stop) -> bool:
    """Run this machine's agent until stop is set, anew each time that the centre gives it another identity.

    False: it has ended by itself, and its process is to be started again. Raises as `build` does.
    """
    running = build(own)
    while True:
        run([running], stop)
        if stop.is_set:
            return True
        if running.restart:
            return False
        running = build(load(own.path), new=True)
