"""Becomes a newer version of itself: fetched from the centre, signed with a key the centre has not, tried, or left.

A version is on trial until a receipt names a report that was measured under it. Without one within some minutes of
connection, after an error, or after starts that end within the trial, the one before runs again (see ``launch.py``).
"""

from __future__ import annotations

import logging
import random
import re
import sys
import threading
import time
from math import inf
from pathlib import Path
from typing import Any, Callable

from schoolpulse_agent import __version__, centre, package, tls, versions
from schoolpulse_agent.centre import EnrolFailed
from schoolpulse_agent.link import Link
from schoolpulse_agent.package import BadPackage, Manifest
from schoolpulse_agent.settings import Settings, SettingsError
from schoolpulse_agent.versions import State

log = logging.getLogger(__name__)

SPREAD = (0.0, 600.0)  # seconds from an offer to the question for the package: a whole school hears it at once
BACK = (0.0, 60.0)  # seconds until a version that the centre withdraws is left
AGAIN = (3600.0, 7200.0)  # seconds until a package that could not be had is asked for again
TIMEOUT = 300.0  # seconds for the whole package
TRIAL = 300.0  # seconds of connection, or three intervals if that is longer
ALONE = 3600.0  # seconds, or a trial if that is longer, without having been confirmed, connected or not
CHECK = 60.0  # seconds that a package may take to be imported
# What `run` imports, and this machine's own settings file read: all without a connection, in a process of its own.
IMPORT = """
import sys
from pathlib import Path
sys.path[:] = sys.argv[2:]
from schoolpulse_agent import __main__, __version__, agent, settings
settings.load(Path(sys.argv[1]))
print(__version__)
"""


class Update:
    """What one agent does about the version that its centre offers. Needs settings from a file, with updates on."""

    def __init__(self, own: Settings, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self.restart = False  # the process is to end, so that another version is started
        self.refused = ""  # the newest version that is not to run, a space, and why
        self._own, self._link, self._clock = own, link, clock
        self._key = package.public_key(own.update.public_key)
        self._folder = Path(own.reports.folder) / versions.FOLDER
        self._state, self._saved = versions.load(self._folder), True
        self._on_trial: float | None = None  # seconds of connection since it began
        self._began = self._looked = clock()
        self._offer: dict[str, Any] | None = None
        self._wanted: Manifest | None = None
        self._due, self._leave = inf, inf
        self._fetch: _Fetch | None = None
        self._settle()

    @property
    def is_leaving(self) -> bool:
        """Whether the process is to end because this version is no good, and not to try another one."""
        return self.restart and not self._state.trial

    def work(self, offer: dict[str, Any] | None, receipted: bool, interval: float) -> None:
        """Do what is due. ``receipted``: a receipt has named a report of this start."""
        now = self._clock()
        passed, self._looked = now - self._looked, now
        # Without the collector's answer to a hello no report can go out, whatever the version.
        connected = self._link.connected and self._link.wallclock.settled
        if offer != self._offer and connected:
            self._offer, self._wanted, self._due = offer, None, inf
            self._judge(offer, now)
        if now >= self._leave:
            self._back("withdrawn by the centre")
        elif self._on_trial is not None:
            self._on_trial += passed if connected else 0.0
            self._try(now, receipted, max(TRIAL, 3 * interval))
        elif self._fetch:
            self._collect(now)
        elif self._wanted and now >= self._due and connected:
            self._due = now + random.uniform(*AGAIN)
            self._fetch = _Fetch(self._own, self._wanted, self._folder, self._link.wallclock)

    def failed(self, why: str) -> None:
        """The agent's loop has met an error: a version on trial is what brought it."""
        if self._on_trial is not None:
            self._back(why)

    def ended(self) -> None:
        """The agent ends because it was asked to: that start is none."""
        if self._on_trial is not None and self._state.starts:
            self._put(self._state._replace(starts=self._state.starts - 1))

    def _settle(self) -> None:
        """Take note of what was started, which is not always what should have been."""
        state = self._state
        self.refused = state.refused
        if state.trial == __version__:
            self._on_trial = 0.0
            return
        running = __version__ if __version__ in (state.good, state.previous) else ""
        if running != state.good:
            state = state._replace(good=running, previous="")
        if state.trial:  # or it would be fetched and not be started for ever
            state = state._replace(trial="", refused=f"{state.trial} it was not started")
        self._put(state)

    def _judge(self, offer: dict[str, Any] | None, now: float) -> None:
        state, self._leave = self._state, inf
        self.refused = state.refused
        if offer is None:
            return
        version = str(offer.get("version"))[:40]
        if offer.get("withdrawn") is True:
            if version == __version__ and version in (state.good, state.trial):
                self._leave = now + random.uniform(*BACK)
            return
        if version in (__version__, state.refused.split(" ")[0]):
            return
        try:
            wanted = package.read(offer, self._key)
            if package.number(version) < package.number(__version__):
                raise BadPackage(f"it is older than {__version__}, which runs")
            if tuple(map(int, wanted.python.split("."))) > sys.version_info[:2]:
                raise BadPackage(f"it needs Python {wanted.python}")
        except BadPackage as why:
            log.error("version %s of the agent is not taken: %s", version, why)
            self.refused = f"{version} {why}"
            return
        self._wanted, self._due = wanted, now + random.uniform(*SPREAD)
        log.info("version %s of the agent is offered: fetched in %.0f s", version, self._due - now)

    def _collect(self, now: float) -> None:
        fetch = self._fetch
        if fetch is None or not fetch.ended.is_set():
            return
        self._fetch = None
        version, state = fetch.manifest.version, self._state
        if fetch.bad:
            log.error("version %s of the agent is not taken: %s", version, fetch.bad)
            self._wanted = None
            self._put(state._replace(refused=f"{version} {fetch.bad}"))
            versions.clear(self._folder, state)
        elif fetch.trouble:
            log.warning("version %s of the agent: %s; again in %.0f s", version, fetch.trouble, self._due - now)
        elif fetch.manifest == self._wanted:
            starts = state.starts if state.tried == version else 0
            if self._put(state._replace(trial=version, tried=version, starts=starts)):
                log.warning("ending, to start as version %s", version)
                self.restart = True

    def _try(self, now: float, receipted: bool, patience: float) -> None:
        assert self._on_trial is not None
        if receipted:
            self._on_trial = None
            good = State(good=__version__, previous=self._state.good, tried=__version__)
            if self._put(good):
                versions.clear(self._folder, good)
            log.info("version %s works", __version__)
        elif self._on_trial >= patience:
            self._back("no report arrived under it")
        elif now - self._began >= max(ALONE, patience):  # is it the network or this version? The one before will tell
            log.warning("version %s has no connection: the one before is tried", __version__)
            self._put(self._state._replace(trial=""))
            self.restart = True

    def _back(self, why: str) -> None:
        state, was_on_trial = self._state, self._on_trial is not None
        if state.good == __version__:
            state = state._replace(good=state.previous, previous="")
        log.error("version %s is left: %s; ending, to start as the one before", __version__, why)
        # What can't be written would be started again, unless it is on trial: what can't be counted is not tried.
        self.restart = self._put(state._replace(trial="", refused=f"{__version__} {why}")) or was_on_trial
        self._leave, self._on_trial = inf if self.restart else self._clock() + random.uniform(*AGAIN), None

    def _put(self, state: State) -> bool:
        """Whether it could be written."""
        if state != self._state or not self._saved:
            self._state, self.refused, self._saved = state, state.refused, False
            try:
                versions.save(self._folder, state)
            except OSError as why:
                log.warning("%s can't be written: %s", self._folder, why.strerror)
                return False
            self._saved = True
        return True


class _Fetch:
    """A package on its way, in a thread of its own: reports go on meanwhile."""

    def __init__(self, own: Settings, manifest: Manifest, folder: Path, wallclock: Any) -> None:
        self.manifest = manifest
        self.bad = ""  # why this version can't run here
        self.trouble = ""  # why it could not be had: time may help
        self.ended = threading.Event()
        self._own, self._folder = own, folder
        self._now = wallclock.raw() + wallclock.offset_ms
        threading.Thread(target=self._run, name="update", daemon=True).start()

    def _run(self) -> None:
        try:
            body = self._get()
            package.check(body)
            versions.keep(self._folder, self.manifest, body)
            self._import(self._folder / f"{self.manifest.version}.zip")
        except BadPackage as why:
            self.bad = str(why)
        except (EnrolFailed, SettingsError) as why:
            self.trouble = str(why)
        except OSError as why:
            self.trouble = f"{why.filename or self._folder}: {why.strerror or why}"
        except Exception as why:  # as of memory or threads: or it would count as fetched
            self.trouble = f"it can't be fetched: {type(why).__name__}"
        finally:
            self.ended.set()

    def _get(self) -> bytes:
        url, path = self._own.centre.url.rstrip("/"), f"/packages/{package.name(self.manifest.version)}"
        name = self._own.ca_file()
        ca = Path(name).read_text(encoding="ascii", errors="replace") if name else None
        trusting = tls.trusting(ca, self._now)
        status, _, body = centre.ask(url, "GET", path, None, trusting, self.manifest.size, TIMEOUT)
        if status != 200:
            raise EnrolFailed(f"{url}{path}: HTTP {status}", f"{url}{path}: lỗi HTTP {status}", True, status)
        try:
            package.matches(self.manifest, body)
        except BadPackage as why:  # of the server's making: what was signed is not at fault
            raise EnrolFailed(f"{url}{path}: {why}", f"{url}{path}: gói không đúng ({why})", True) from None
        return body

    def _import(self, path: Path) -> None:
        """Raise BadPackage unless this machine's Python can import it and it can read this machine's settings."""
        import subprocess

        where = [str(path), *(entry for entry in sys.path if entry)]
        command = [sys.executable, "-I", "-S", "-c", IMPORT, str(self._own.path), *where]
        try:
            done = subprocess.run(  # noqa: S603 - our own program and a package that is signed
                command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=CHECK,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"not imported in {CHECK:g} s: busy, perhaps") from None
        if done.returncode or done.stdout.strip() != self.manifest.version:
            said = (done.stderr.strip() or f"it says that it is {done.stdout.strip()[:40]!r}").splitlines()[-1]
            log.error("version %s can't run here: %s", self.manifest.version, said)
            error = re.match(r"[A-Za-z_][\w.]*(?=:)", said, re.ASCII)  # the rest may name a file of this machine
            raise BadPackage(f"it can't run here: {error[0] if error else ''}".rstrip(": "))
