"""mosquitto 2.0 as the centre's broker: its files are made here from the registry, and it is told when they change.

Devices come in on two ports, both with TLS: with a certificate of the centre's CA, of which mosquitto needs no list; or
with id and secret, of which it has a password file. Each reload makes it stand still for a moment (0.3 s with 100,000
passwords, and 0.1 ms for each live connection), so devices that were only added wait for each other a little.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import select

from schoolpulse_collector import files
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.broker import BrokerDown
from schoolpulse_collector.registry import Registry, credential, now
from schoolpulse_collector.registry.model import RevokedCertificate
from schoolpulse_collector.roster import Roster, Sender
from schoolpulse_collector.subscriber import CLIENT_ID
from schoolpulse_collector.takeover import take_over

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds at least between reloads for devices that were only added ...
PAUSE_EACH = 1e-4  # ... and for each device there is: 10 s with 100,000
LOOK = 10.0  # seconds between looks at what is due
# Whoever has done the TLS handshake, where the CRL is asked, has 90 s to say CONNECT: longer than a cut takes.
GREETED = 120.0  # seconds after which a cut is done once more
PORTS = "listeners.json"
READABLE = 0o640  # by mosquitto, through the folder's group
SIGNED = ("ca.pem", "server.pem", "server.key", "crl.pem")
GUIDE = """\
It needs to be done once, as root, on Debian with its package mosquitto; the broker runs as the user mosquitto, the
centre as another, who owns this folder. Each folder above it must let the user mosquitto pass (chmod o+x).
  chgrp -R mosquitto {folder} && chmod 2750 {folder} && chmod 2770 {folder}/run
  systemctl edit mosquitto        # write these lines:
    [Service]
    ExecStart=
    ExecStart=/usr/sbin/mosquitto -c {folder}/mosquitto.conf
  systemctl edit schoolpulse      # the centre must be allowed to send mosquitto a signal:
    [Service]
    AmbientCapabilities=CAP_KILL
  systemctl restart mosquitto
The centre tells mosquitto to reload by itself; by hand: systemctl reload mosquitto"""


@dataclass(frozen=True)
class Listeners:
    """Where mosquitto listens. ``host`` is for both ports with TLS; ``plain``, for this machine only, may be None."""

    host: str = "0.0.0.0"  # noqa: S104  the schools' devices come from elsewhere
    mtls: int = 8883
    secret: int = 8884
    plain: int | None = 1883


class Mosquitto:
    """One mosquitto, in another process, whose folder this is. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        roster: Roster,
        authority: Authority,
        listeners: Listeners = Listeners(),
        user: str = "mosquitto",
    ) -> None:
        """``user``: as whom mosquitto goes on if root starts it."""
        self.folder = folder.resolve()
        self._registry, self._roster, self._authority = registry, roster, authority
        self._listeners, self._user = listeners, user
        self._senders: dict[str, Sender] = {}
        self._revoked: dict[str, int] | None = None  # what is in the CRL; None: not known
        self._lock = threading.Lock()
        self._waiting = False  # something that mosquitto was not told
        self._told = 0.0  # monotonic seconds
        self._cut_again: dict[str, float] = {}  # device -> monotonic seconds
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, folder: Path, registry: Registry, roster: Roster, authority: Authority) -> Self:
        """The mosquitto whose folder `write` made before, with the same ports. Raises OSError, ValueError."""
        ports = json.loads((folder / PORTS).read_text(encoding="utf-8"))
        return cls(folder, registry, roster, authority, Listeners(**ports))

    @property
    def listeners(self) -> Listeners:
        """Where it listens."""
        return self._listeners

    @property
    def collector_password(self) -> str:
        """The password of the user ``collector``. Raises OSError."""
        return self._collector_password()

    def write(self) -> None:
        """Make all files from the registry as it is now. Raises OSError."""
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            (self.folder / "run").mkdir(exist_ok=True, mode=0o770)
            self._roster.follow()
            self._senders = {sender.id: sender for sender in self._roster.all()}
            self._put(PORTS, json.dumps(asdict(self._listeners)))
            self._put("mosquitto.conf", configuration(self.folder, self._listeners, self._user))
            self._put("acl", Path(__file__).with_name("mosquitto.acl").read_text(encoding="utf-8"))
            self._authority.renew()
            self._write_crl()
            self._write_passwords()
            self._copy()

    def start(self) -> None:
        """Write all files and tell mosquitto, or leave them to it for its start. Raises OSError."""
        self.write()
        try:
            with self._lock:
                self._reload()
        except BrokerDown as why:
            log.warning("%s", why)
        self._thread = threading.Thread(target=self._tend_until_end, name="mosquitto", daemon=True)
        self._thread.start()

    def changed(self, senders: Sequence[Sender], cut: Sequence[str]) -> None:
        """Take over devices as they are now and end the connections of ``cut``. Raises BrokerDown: call again.

        Devices that were only added can come in within a second or two, with 100,000 of them within 10.
        """
        with self._lock:
            self._senders |= {sender.id: sender for sender in senders}
            self._waiting = True
            if not cut and time.monotonic() < self._next_reload():
                return
            self._apply()
        self._end_connections(cut)  # mosquitto reloads before it answers those who connect from now on
        again = time.monotonic() + GREETED
        self._cut_again |= {device: again for device in cut if not self._is_active(device)}

    def tend(self) -> None:
        """What is due: changes that waited, certificates and CRL that end soon, second cuts. Raises BrokerDown."""
        with self._lock:
            try:
                self._authority.renew()
                if self._authority.crl_is_due() or self._revoked != self._revoked_now():  # as after a renewal
                    self._write_crl()
                changed = self._copy()
            except OSError as why:
                raise BrokerDown(f"mosquitto's files in {self.folder}: {why}") from why
            if self._waiting or changed:
                self._waiting = True
                self._apply()
        due = [device for device, instant in list(self._cut_again.items()) if instant <= time.monotonic()]
        self._end_connections([device for device in due if not self._is_active(device)])
        for device in due:
            self._cut_again.pop(device, None)

    def stop(self) -> None:
        """Leave mosquitto as it is, and look after it no more."""
        self._ending.set()
        if self._thread:
            self._thread.join()

    @property
    def password_file(self) -> Path:
        """The file with the collector's password."""
        return self.folder / "collector-password"

    def _end_connections(self, devices: Sequence[str]) -> None:
        others = [device for device in devices if device != CLIENT_ID]
        take_over(self._authority, self._listeners.host, self._listeners.mtls, others)

    def _is_active(self, device: str) -> bool:
        sender = self._senders.get(device)
        return sender is not None and sender.active

    def _tend_until_end(self) -> None:
        said, looked = "", time.monotonic()
        while not self._ending.wait(PAUSE):
            now = time.monotonic()
            if now - looked < LOOK and not (self._waiting and now >= self._next_reload()):
                continue
            looked = now
            try:
                self.tend()
                said = ""
            except Exception as why:  # the next look may find it mended
                if str(why) != said:
                    said = str(why)
                    log.error("%s; tried again each %.0f s", why, LOOK)

    def _next_reload(self) -> float:
        return self._told + max(PAUSE, len(self._senders) * PAUSE_EACH)

    def _apply(self) -> None:
        try:
            self._write_passwords()
            if self._revoked != self._revoked_now():
                self._write_crl()
            self._copy()
        except OSError as why:
            raise BrokerDown(f"mosquitto's files in {self.folder}: {why}") from why
        self._reload()

    def _reload(self) -> None:
        path = self.folder / "run" / "mosquitto.pid"
        try:
            pid = int(path.read_text())
            if Path(f"/proc/{pid}/comm").read_text() != "mosquitto\n":  # an old file; the number is another's now
                raise ProcessLookupError
            os.kill(pid, signal.SIGHUP)
        except PermissionError as why:
            hint = "give the centre's unit AmbientCapabilities=CAP_KILL, or run both as one user"
            raise BrokerDown(f"mosquitto can't be told to reload ({path}: {why.strerror}): {hint}") from why
        except (OSError, ValueError) as why:
            raise BrokerDown(f"mosquitto does not run with {self.folder}/mosquitto.conf: start it") from why
        self._waiting, self._told = False, time.monotonic()

    def _write_passwords(self) -> None:
        lines = [f"{CLIENT_ID}:{credential.keep(self._collector_password())}"]
        for sender in self._senders.values():
            good = sender.id != CLIENT_ID and not set(sender.id) & set(":\r\n")
            if sender.active and good and sender.secret_hash.startswith("$6$"):  # those of version 0.1 are in no file
                lines.append(f"{sender.id}:{sender.secret_hash}")
        self._put("passwords", "\n".join(lines) + "\n")

    def _collector_password(self) -> str:
        if not self.password_file.exists():
            files.write(self.password_file, secrets.token_urlsafe(32) + "\n")
        return self.password_file.read_text(encoding="utf-8").strip()

    def _revoked_now(self) -> dict[str, int]:
        with self._registry.read() as session:
            listed = select(RevokedCertificate.serial, RevokedCertificate.revoked)
            rows = session.execute(listed.where(RevokedCertificate.expires > now()))
            return {row.serial: row.revoked for row in rows}

    def _write_crl(self) -> None:
        revoked = self._revoked_now()
        self._authority.write_crl(revoked.items())
        self._revoked = revoked

    def _copy(self) -> bool:
        """Put the authority's files where mosquitto may read them; whether one is another than before."""
        changed = [self._put(name, (self._authority.folder / name).read_text(encoding="utf-8")) for name in SIGNED]
        return any(changed)

    def _put(self, name: str, text: str) -> bool:
        path = self.folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        files.write(path, text, READABLE)
        return True


def configuration(folder: Path, listeners: Listeners, user: str) -> str:
    """mosquitto.conf for this folder."""
    common = Path(__file__).with_name("mosquitto.conf").read_text(encoding="utf-8").partition("\n# Where it listens")[0]
    guide = "".join(f"# {line}\n" for line in GUIDE.format(folder=folder).splitlines())
    tls = f"certfile {folder}/server.pem\nkeyfile {folder}/server.key\ntls_version tlsv1.2\n"
    names = "use_username_as_clientid true\n"  # or a device could throw another off by naming its client id
    certificates = f"cafile {folder}/ca.pem\ncrlfile {folder}/crl.pem\nrequire_certificate true\n"
    made = f"# Made by `schoolpulse broker setup`: changes by hand are lost.\n#\n{guide}\n{common}\n"
    made += f"user {user}\npid_file {folder}/run/mosquitto.pid\npersistence_location {folder}/run/\n"
    made += "set_tcp_nodelay true\n"  # or each answer to CONNECT waits 40 ms for the client's TCP to acknowledge TLS
    made += f"password_file {folder}/passwords\nacl_file {folder}/acl\n\n"
    made += "# Devices with a certificate: its common name is the device's id. At least TLS 1.2.\n"
    made += f"listener {listeners.mtls} {listeners.host}\n{tls}{certificates}use_identity_as_username true\n{names}\n"
    made += "# Devices with id and secret.\n"
    made += f"listener {listeners.secret} {listeners.host}\n{tls}{names}"
    if listeners.plain is not None:
        made += f"\n# The collector on this machine.\nlistener {listeners.plain} 127.0.0.1\n{names}"
    return made
