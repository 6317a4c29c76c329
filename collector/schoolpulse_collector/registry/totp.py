"""The second factor: codes of an authenticator app by RFC 6238, six digits, SHA-1, which every app knows."""

from __future__ import annotations

import hmac
import re

import pyotp

SECONDS = 30  # how long a code is shown
SECRET = re.compile(r"[A-Z2-7]{32}")


def new_secret() -> str:
    """160 random bits in base 32."""
    return pyotp.random_base32(32)


def uri(secret: str, login: str, organisation: str = "SchoolPulse") -> str:
    """What an app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=organisation)


def step_of(secret: str, code: str, now: int) -> int | None:
    """The step that this code is of: that of now (UTC ms), the one before or the one after; None: of none."""
    shown, step, app = "".join(code.split()), now // 1000 // SECONDS, pyotp.TOTP(secret)
    near = (step + 1, step, step - 1)
    return next((each for each in near if hmac.compare_digest(app.generate_otp(each).encode(), shown.encode())), None)
