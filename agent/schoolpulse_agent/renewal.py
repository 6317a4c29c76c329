"""Keeps a machine's credential good: a new certificate in time, a question to the centre when the broker refuses it.

Called from the agent's loop; a question blocks at most 15 s, is asked rarely, and never stops the reporting.
"""

from __future__ import annotations

import logging
import random
import time
from math import inf
from pathlib import Path
from typing import Callable

from schoolpulse_agent import enroll, identity, keeping, tls
from schoolpulse_agent.centre import EnrolFailed
from schoolpulse_agent.link import Link
from schoolpulse_agent.settings import Settings, SettingsError

log = logging.getLogger(__name__)

SHARE = 267 / 400  # of a certificate's life, then it is renewed
AGAIN = (6 * 3600.0, 12 * 3600.0)  # seconds until a renewal is tried again, a random time in between
SOON = (0.0, 30.0)  # from the broker's refusal to the question who we are ...
LATER = (300.0, 900.0)  # ... and to the next one


class Renewal:
    """What one agent asks of its centre. Needs settings that come from a file and name the centre."""

    def __init__(
        self, settings: Settings, link: Link, clock: Callable[[], float] = time.monotonic, new: bool = False
    ) -> None:
        assert settings.path
        self.replaced = False  # the settings file holds a new identity: begin anew with it
        self._settings, self._link, self._clock = settings, link, clock
        self._config = settings.path
        self._own = settings.certificate()
        self._renew_from = renew_from(self._own)
        self._renew_at = 0.0
        # A broker may need a minute to hear of a new identity: to ask at once would spend another one.
        self._rekey_at: float | None = clock() + random.uniform(*LATER) if new else None
        self._said = ""

    def work(self) -> None:
        """Ask if it is time. Raises nothing for trouble with centre or disk."""
        now, link = self._clock(), self._link
        if link.rejected:
            if self._rekey_at is None:
                self._rekey_at = now + random.uniform(*SOON)
            if now >= self._rekey_at:
                self._rekey(now)
            return
        if link.connected and self._rekey_at is not None and now >= self._rekey_at:
            self._rekey_at = None
        if link.wallclock.settled and now >= self._renew_at and self._time() >= self._renew_from:
            self._renew(now)

    def _rekey(self, now: float) -> None:
        self._rekey_at = now + random.uniform(*LATER)
        device, url = self._settings.device.id, self._settings.centre.url
        try:
            keeping.prepare(self._config)
            request = enroll.new_request() if self._own else None
            secret, ca = self._settings.secret(), self._ca()
            answer = enroll.rekey(url, device, secret, identity.read(), ca, self._time(), request)
            keeping.take_over(self._config, answer, url, request)
        except EnrolFailed as why:
            self._rekey_at = max(self._rekey_at, now + why.wait)
            self._say(f"no new identity for device {device}: {why}")
            if why.status == 403 and self._own and now >= self._renew_at:  # perhaps only the certificate is no good
                self._renew(now)
            return
        except (OSError, SettingsError) as why:
            self._say(f"a new identity can't be written: {why}")
            return
        log.warning("device %s is now %s, as the centre says", device, answer.device)
        self.replaced = True

    def _renew(self, now: float) -> None:
        assert self._own
        self._renew_at = now + random.uniform(*AGAIN)
        device, url = self._settings.device.id, self._settings.centre.url
        certificate_file, key_file = map(Path, self._own)
        try:
            keeping.prepare(self._config)
            request = enroll.new_request()
            pem = enroll.renew(url, device, self._settings.secret(), self._ca(), self._time(), request)
            keeping.put(key_file, request.key)
            keeping.put(certificate_file, pem, 0o644)
        except EnrolFailed as why:
            self._renew_at = max(self._renew_at, now + why.wait)
            self._say(f"no new certificate for device {device}: {why}")
            return
        except (OSError, SettingsError) as why:
            self._say(f"a new certificate can't be written: {why}")
            return
        log.info("device %s has a new certificate", device)
        self._renew_from = renew_from(self._own)
        self._link.close(0.5)  # and comes back with the new one

    def _time(self) -> int:
        """UTC milliseconds: the centre's word if there was one since the start."""
        return self._link.wallclock.raw() + self._link.wallclock.offset_ms

    def _ca(self) -> str | None:
        name = self._settings.ca_file()
        return Path(name).read_text(encoding="ascii", errors="replace") if name else None

    def _say(self, message: str) -> None:
        if message != self._said:  # once, not at every try
            log.warning("%s", message)
        self._said = message


def renew_from(own: tuple[str, str] | None) -> float:
    """When a certificate is to be renewed, UTC ms: after 267/400 of its life; at once if it can't be read."""
    if not own:
        return inf
    try:
        first, last = tls.validity(Path(own[0]).read_text(encoding="ascii", errors="replace"))
    except (OSError, ValueError):
        return 0.0
    return first + (last - first) * SHARE
