"""Secrets that machines and programs show: 256 random bits, kept as hashes, so that a stolen copy opens nothing.

A device's is kept in mosquitto's own form (``$6$``: SHA-512 with salt, mosquitto_passwd -H sha512), so that one record
serves our own door, the NATS callout and mosquitto's password file. Random bits need no slow hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets


def new_secret() -> str:
    """256 random bits as 43 characters."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """How tokens, sessions and links are kept: SHA-256, by which they are looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def keep(secret: str) -> str:
    """How a device's secret is kept: ``$6$salt$hash``."""
    salt = secrets.token_bytes(12)
    return f"$6${_text(salt)}${_text(hashlib.sha512(secret.encode() + salt).digest())}"


def matches(secret: str, kept: str) -> bool:
    """Whether this is the secret that was kept so; also for those of version 0.1, which were SHA-256. Never raises."""
    try:
        shown = secret.encode()
        if not kept.startswith("$6$"):
            return hmac.compare_digest(hashlib.sha256(shown).hexdigest().encode(), kept.encode())
        salt, wanted = (base64.b64decode(part, validate=True) for part in kept.removeprefix("$6$").split("$"))
    except ValueError:  # no UTF-8, no base64, or another number of parts: nothing that `keep` made
        return False
    return hmac.compare_digest(hashlib.sha512(shown + salt).digest(), wanted)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
