"""The centre's own certificate authority: a folder with its key, and what it signs for devices, servers, the collector.

Who is who stands in the certificate: a device's common name is its id, and it is good as a client's only; the centre's
servers have one that is good as a server's only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from schoolpulse_collector import certificate, files
from schoolpulse_collector.certificate import BadRequest, Key, PublicKey
from schoolpulse_collector.registry.devices import CERTIFICATE_DAYS
from schoolpulse_collector.subscriber import CLIENT_ID

__all__ = ["Authority", "BadRequest"]

CA_LIFE = timedelta(days=3653)
DEVICE_LIFE = timedelta(days=CERTIFICATE_DAYS)
SERVER_LIFE = timedelta(days=397)
CRL_LIFE = timedelta(days=30)
PUBLIC = 0o644
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch  # nothing that means something in a topic or a file

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Authority:
    """Signs with the key in its folder: ca.pem, ca.key, server.pem, server.key, collector.pem, collector.key, crl.pem.

    Keys can be read by their owner only. Safe to use from several threads.
    """

    def __init__(self, folder: Path, own: x509.Certificate, key: Key, clock: Clock) -> None:
        self.folder = folder
        self.ca_pem = certificate.pem(own)
        self.fingerprint = own.fingerprint(SHA256()).hex()
        self._own, self._key, self._clock = own, key, clock

    @classmethod
    def create(cls, folder: Path, organisation: str, names: Sequence[str], clock: Clock = _now) -> Self:
        """A new one in this folder, with certificates for the collector and for a server that is called by ``names``.

        Raises FileExistsError if there is one, ValueError for a name that is none.
        """
        if (folder / "ca.pem").exists():
            raise FileExistsError(f"{folder / 'ca.pem'} is there already, and devices trust it: it is not replaced")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, name = certificate.new_key(), certificate.name("SchoolPulse CA", organisation)
        now = clock()
        built = certificate.builder(name, name, key, key.public_key(), now, now + CA_LIFE, ca=True)
        made = cls(folder, built.sign(key, SHA256()), key, clock)
        made.server_certificate(names)
        made._collector_certificate()
        made.write_crl([])
        files.write(folder / "ca.key", certificate.key_pem(key))
        files.write(folder / "ca.pem", made.ca_pem, PUBLIC)  # last: without it nothing here counts
        return made

    @classmethod
    def open(cls, folder: Path, clock: Clock = _now) -> Self:
        """The one in this folder. Raises OSError if there is none, or it is damaged."""
        if not (folder / "ca.pem").exists():
            raise FileNotFoundError(f"{folder} has no CA (ca.pem): create one, or name the folder that has it")
        own, key = certificate.read(folder / "ca.pem"), certificate.read_key(folder / "ca.key")
        if own.public_key() != key.public_key():
            raise OSError(f"{folder}: ca.key is not the key of ca.pem: bring both back from one backup")
        return cls(folder, own, key, clock)

    def device_certificate(self, csr_pem: str, device: str) -> tuple[str, str]:
        """A certificate for the key of this request, and its serial number in hex. Good for 400 days.

        Of the request only its P-256 key counts. Raises BadRequest; ValueError for a device id that can't be one.
        """
        if not _DEVICE(device) or device == CLIENT_ID:
            raise ValueError(f"{device!r} can't be the name in a device's certificate")
        made = self._sign(device, certificate.requested_key(csr_pem), ExtendedKeyUsageOID.CLIENT_AUTH, DEVICE_LIFE)
        return certificate.pem(made), format(made.serial_number, "x")

    def server_certificate(self, names: Sequence[str]) -> None:
        """Write server.pem, for a server that is called by these host names and addresses. Good for 397 days.

        The key stays if there is one: so key and certificate belong together at any instant. Raises ValueError.
        """
        if not names:
            raise ValueError("a server's certificate needs at least one host name or address")
        called = x509.SubjectAlternativeName([certificate.general_name(name) for name in names])
        public = self._kept_key("server.key").public_key()
        made = self._sign(names[0][:64], public, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFE, called)
        files.write(self.folder / "server.pem", certificate.pem(made), PUBLIC)

    def client_certificate(self, name: str, seconds: float) -> tuple[str, str]:
        """A certificate and its new key, both PEM, with which one is ``name`` at the broker for so long."""
        key = certificate.new_key()
        made = self._sign(name, key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH, timedelta(seconds=seconds))
        return certificate.pem(made), certificate.key_pem(key)

    def write_crl(self, revoked: Iterable[tuple[str, int]]) -> Path:
        """Write crl.pem: these serial numbers (hex), revoked at these instants (UTC ms), are good no more.

        A broker with a list past its time, 30 days from now, lets nobody in: write it again before.
        """
        serials = {int(serial, 16): datetime.fromtimestamp(since / 1000, UTC) for serial, since in revoked}
        now, path = self._clock(), self.folder / "crl.pem"
        files.write(path, certificate.crl(self._own.subject, self._key, now, now + CRL_LIFE, serials), PUBLIC)
        return path

    def crl_is_due(self) -> bool:
        """Whether crl.pem has a third of its life left or less, or can't be read."""
        try:
            ends = x509.load_pem_x509_crl((self.folder / "crl.pem").read_bytes()).next_update_utc
        except (OSError, ValueError):
            return True
        return ends is None or ends - self._clock() <= CRL_LIFE / 3

    def renew(self) -> bool:
        """Renew the certificates of server and collector that have a third of their life left; whether any was.

        Raises OSError if the server's can't be read: nothing else says by which names it is called.
        """
        server = certificate.read(self.folder / "server.pem")
        renewed = self._is_due(server)
        if renewed:
            called = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.server_certificate([str(name.value) for name in called])
        with suppress(OSError):
            if not self._is_due(certificate.read(self.folder / "collector.pem")):
                return renewed
        self._collector_certificate()
        return True

    def _is_due(self, found: x509.Certificate) -> bool:
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        return ends - self._clock() <= (ends - begins) / 3

    def _collector_certificate(self) -> None:
        public = self._kept_key("collector.key").public_key()
        made = self._sign(CLIENT_ID, public, ExtendedKeyUsageOID.CLIENT_AUTH, SERVER_LIFE)
        files.write(self.folder / "collector.pem", certificate.pem(made), PUBLIC)

    def _kept_key(self, name: str) -> Key:
        with suppress(FileNotFoundError):
            return certificate.read_key(self.folder / name)
        key = certificate.new_key()
        files.write(self.folder / name, certificate.key_pem(key))
        return key

    def _sign(
        self,
        name: str,
        public: PublicKey,
        purpose: ObjectIdentifier,
        life: timedelta,
        called: x509.SubjectAlternativeName | None = None,
    ) -> x509.Certificate:
        now = self._clock()
        until = min(now + life, self._own.not_valid_after_utc)
        subject = certificate.name(name)
        built = certificate.builder(subject, self._own.subject, self._key, public, now, until, ca=False)
        built = built.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if called:
            built = built.add_extension(called, critical=False)
        return built.sign(self._key, SHA256())
