"""TLS to the broker, also for machines with a dead clock: they check a certificate's dates by the centre's time.

Issuer and name are always checked in the handshake. With a clock from before this version was made, dates say nothing
there; so they are checked as soon as the centre has said what time it is, and by that.
"""

from __future__ import annotations

import contextlib
import re
import select
import ssl
from typing import Any

MADE = 1_793_000_000  # unix seconds (October 2026): an earlier clock is wrong
JUDGEMENT = 2.0  # seconds
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME in openssl/x509_vfy.h


def context(ca_file: str | None, clock: int, own: tuple[str, str] | None = None) -> ssl.SSLContext:
    """A context that trusts this CA, None for the system's. ``clock``: UTC ms, what this machine takes for the time.

    ``own``: files of the certificate and key to show. Raises OSError if a file can't be used.
    """
    made = ssl.create_default_context(cafile=ca_file)
    made.minimum_version = max(made.minimum_version, ssl.TLSVersion.TLSv1_2)  # Python 3.9 has no bound of its own
    if clock < MADE * 1000:
        made.verify_flags = ssl.VerifyFlags(made.verify_flags | NO_CHECK_TIME)
    if own:
        made.load_cert_chain(*own)
    return made


def trusting(ca: str | None, clock: int) -> ssl.SSLContext:
    """A context that trusts the system's CAs and this one (PEM). ``clock`` as in `context`."""
    made = context(None, clock)
    if ca:
        made.load_verify_locations(cadata=ca)
    return made


def in_date(certificate: dict[str, Any] | None, now: int) -> bool:
    """Whether a peer's certificate, as ``getpeercert`` gives it, is valid at ``now``, UTC milliseconds."""
    if not certificate:
        return False
    first, last = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    return first <= now / 1000 <= last


# OpenSSL's words for a peer that ended a handshake because of our certificate (RFC 8446, 6.2), and for files of ours
# that don't belong together.
_REJECTED = re.compile(
    r"alert[ _](bad[ _]certificate|(unsupported[ _])?certificate|unknown[ _]ca|access[ _]denied)|KEY_VALUES_MISMATCH",
    re.IGNORECASE,
).search


def await_judgement(_client: object, _data: object, sock: Any) -> None:
    """Wait until the peer has judged the certificate that we showed. Raises SSLError if it refuses it.

    In TLS 1.3 our side of the handshake is done before that; to write then would lose the peer's alert. A peer that
    takes the certificate sends session tickets; one that sends none costs the wait. paho calls it before it writes.
    """
    if sock.version() == "TLSv1.3" and select.select([sock], [], [], JUDGEMENT)[0]:
        with contextlib.suppress(ssl.SSLWantReadError):  # tickets, which are no data
            sock.recv(1)


def is_rejection(said: str) -> bool:
    """Whether an error's text says that this machine's own certificate is no good, as revoked, expired or unknown."""
    return bool(_REJECTED(said))


def validity(pem: str) -> tuple[int, int]:
    """From when to when a certificate (the first in ``pem``) is valid, UTC milliseconds. Raises ValueError.

    Reads just so much of X.509 (RFC 5280, 4.1) as to get there: the standard library has no reader of certificates.
    """
    end = "-----END CERTIFICATE-----"
    (_, certificate), *_ = _elements(ssl.PEM_cert_to_DER_cert(pem[: pem.find(end) + len(end)].strip()))
    (_, signed), *_ = _elements(certificate)
    fields = _elements(signed)  # [version], serial number, algorithm, issuer, validity ...
    at = 4 if fields and fields[0][0] == 0xA0 else 3
    times = _elements(fields[at][1]) if len(fields) > at else []
    if len(times) != 2:
        raise ValueError("no validity in the certificate")
    first, last = (_time(tag, said.decode("ascii")) for tag, said in times)
    return first, last


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements of one level of DER: (tag, content). Raises ValueError."""
    found, at = [], 0
    while at < len(data):
        size, body = data[at + 1] if at + 1 < len(data) else 0xFF, at + 2
        if size & 0x80:  # so many bytes say the length
            count = size & 0x7F
            size, body = int.from_bytes(data[body : body + count], "big"), body + count
        if body + size > len(data):
            raise ValueError("not DER, or cut short")
        found.append((data[at], data[body : body + size]))
        at = body + size
    return found


def _time(tag: int, said: str) -> int:
    from datetime import datetime, timezone

    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"  # UTCTime, GeneralizedTime
    return int(datetime.strptime(said, form).replace(tzinfo=timezone.utc).timestamp() * 1000)
