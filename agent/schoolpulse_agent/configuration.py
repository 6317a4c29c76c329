"""What the centre wants of this machine: judged, tried, and kept only if reports go on arriving under it.

A configuration is on trial until a receipt names a report that was measured under it. Without one within some minutes
of connection, after an error, or after starts that end within the trial, the last good one holds again.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, Callable

from schoolpulse_agent import keeping, remote
from schoolpulse_agent.remote import Config
from schoolpulse_agent.settings import Settings, SettingsError
from schoolpulse_agent.wire import MAX_TEXT

log = logging.getLogger(__name__)

FILE = "config.json"  # in the folder of the reports
TRIAL = 300.0  # seconds of connection, or three intervals if that is longer
STARTS = 3  # of the agent within one trial: then it is what ends it
NONE = Config("", {})


class Configuration:
    """The configuration that this machine follows. ``settings``: what is in force; its own file's below, it above."""

    def __init__(self, own: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = own
        self.refused = ""  # version of the newest that is not followed, a space, and why
        self._own, self._clock = own, clock
        self._path = Path(own.reports.folder) / FILE
        self._good, self._now = NONE, NONE
        self._starts = 0
        self._on_trial: float | None = None  # seconds of connection since it began
        self._looked = clock()
        self._load()

    @property
    def version(self) -> str:
        """Of the one in force; empty: the machine's own file alone."""
        return self._now.version

    @property
    def is_on_trial(self) -> bool:
        """Whether no receipt has named a report under it yet."""
        return self._on_trial is not None

    @property
    def update(self) -> dict[str, Any] | None:
        """The version of the agent that the centre offers."""
        return self._now.update

    def take(self, wanted: Config) -> bool:
        """Follow what the centre wants, on trial; False if that changes nothing. One that is no good is refused."""
        if wanted.version == self.version:
            if self.refused:  # the centre no longer wants that one; what is refused hides what else there is to say
                self.refused = ""
                self._save()
            return False
        if self.refused and wanted.version == self.refused.split(" ")[0]:
            return False
        try:
            settings = remote.merged(self._own, wanted.settings)
        except Exception as why:  # beside what is refused in words: a mistake of ours is no reason to try it at all
            self._refuse(wanted.version, str(why) if isinstance(why, SettingsError) else type(why).__name__)
            self._save()
            return False
        self._now, self.settings, self.refused = wanted, settings, ""
        self._on_trial, self._starts = 0.0, 0
        self._save()
        log.info("configuration %s is on trial", wanted.version or "of the machine's own file")
        return True

    def confirmed(self) -> None:
        """A receipt has named a report that was measured under it."""
        if not self.is_on_trial:
            return
        self._on_trial, self._good = None, self._now
        self._save()
        log.info("configuration %s works", self.version or "of the machine's own file")

    def work(self, connected: bool, stretch: float = 1.0) -> bool:
        """Count the trial's time; True if it is over and the last good configuration holds again.

        ``stretch``: how many times its interval this agent waits between two reports.
        """
        now, last = self._clock(), self._looked
        self._looked = now
        if self._on_trial is None:
            return False
        if connected:
            self._on_trial += now - last
        if self._on_trial < max(TRIAL, 3 * self.settings.reports.interval * stretch):
            return False
        self.fail("no report arrived under it")
        return True

    def fail(self, why: str) -> None:
        """Go back to the last good one, if this one is on trial."""
        if self.is_on_trial:
            self._refuse(self.version, why)
            self._back()
            self._save()

    def ended(self) -> None:
        """The agent ends because it was asked to, as when the machine is switched off: that speaks against nothing."""
        if self.is_on_trial and self._starts:
            self._starts -= 1
            self._save()

    def _back(self) -> None:
        self._now, self._on_trial = self._good, None
        try:
            self.settings = remote.merged(self._own, self._good.settings)
        except SettingsError:  # the machine's own file was changed since
            self._now, self._good, self.settings = NONE, NONE, self._own

    def _refuse(self, version: str, why: str) -> None:
        log.error("configuration %s is not followed: %s", version, why)
        plain = "".join(letter if letter.isprintable() else " " for letter in f"{version} {why}")
        self.refused = plain[:MAX_TEXT]

    def _load(self) -> None:
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            self._good = _kept(said["good"])
            trial, self._starts = _kept(said["trial"]) if said["trial"] else None, int(said["starts"]) + 1
            self.refused = str(said["refused"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as why:
            log.warning("%s can't be read (%s): the machine's own settings hold until the centre says more", FILE, why)
            self._good = NONE
            return
        self._back()
        if trial and self._starts < STARTS:
            try:
                self.settings, self._now, self._on_trial = remote.merged(self._own, trial.settings), trial, 0.0
            except SettingsError as why:
                self._refuse(trial.version, str(why))
        elif trial:
            self._refuse(trial.version, f"the agent ended {STARTS} times while it was tried")
        if trial:
            self._save()

    def _save(self) -> None:
        trial = self._now._asdict() if self.is_on_trial else None
        said = {"good": self._good._asdict(), "trial": trial, "starts": self._starts, "refused": self.refused}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            keeping.put(self._path, json.dumps(said))
        except OSError as why:  # it holds until the next start, and then comes again
            log.warning("%s can't be written: %s", self._path, why.strerror)


def _kept(said: dict[str, Any]) -> Config:
    """A configuration as it stands in the file. Raises TypeError."""
    found = Config(**said)
    if not (
        isinstance(found.version, str) and isinstance(found.settings, dict) and isinstance(found.update or {}, dict)
    ):
        raise TypeError("no configuration")
    return found


def in_force(own: Settings) -> Settings:
    """The settings of a machine with what the centre wants over them, as far as it is known here; changes nothing."""
    try:
        said = json.loads((Path(own.reports.folder) / FILE).read_text(encoding="utf-8"))
        return remote.merged(own, _kept(said["trial"] or said["good"]).settings)
    except (OSError, ValueError, TypeError, KeyError, SettingsError):
        return own
