"""TLS to the broker, also for machines with a dead clock: they check a certificate's dates by the centre's time.

Issuer and name are always checked in the handshake. With a clock from before this version was made, dates say nothing
there; so they are checked as soon as the centre has said what time it is, and by that.
"""

from __future__ import annotations

import ssl
from typing import Any

MADE = 1_793_000_000  # unix seconds (October 2026): an earlier clock is wrong
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME in openssl/x509_vfy.h


def context(ca_file: str | None, clock: int) -> ssl.SSLContext:
    """A context that trusts this CA, None for the system's. ``clock``: UTC ms, what this machine takes for the time.

    Raises OSError if the CA's file can't be used.
    """
    made = ssl.create_default_context(cafile=ca_file)
    if clock < MADE * 1000:
        made.verify_flags = ssl.VerifyFlags(made.verify_flags | NO_CHECK_TIME)
    return made


def in_date(certificate: dict[str, Any] | None, now: int) -> bool:
    """Whether a peer's certificate, as ``getpeercert`` gives it, is valid at ``now``, UTC milliseconds."""
    if not certificate:
        return False
    first, last = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    return first <= now / 1000 <= last
