"""How a token is handed to a technician: one command, one link, one QR code of that link."""

from __future__ import annotations

import io
from typing import NamedTuple

import segno


class Line(NamedTuple):
    """The same token three ways. ``qr``: SVG."""

    command: str
    link: str
    qr: str


def line(url: str, token: str) -> Line:
    """The command to run on a machine, and the link in the QR code: browsers don't send what is behind its ``#``."""
    link = f"{url}/enrol#{token}"
    drawn = io.BytesIO()
    segno.make(link, error="m").save(drawn, kind="svg", scale=4, border=4, xmldecl=False, light="white")
    return Line(f"schoolpulse-agent enroll {url} {token}", link, drawn.getvalue().decode())


def terminal(link: str) -> str:
    """The QR code in characters."""
    drawn = io.StringIO()
    segno.make(link, error="l").terminal(drawn, compact=True)
    return drawn.getvalue()
