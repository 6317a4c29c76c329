"""How a token is handed to a technician: a command for each system, a link, a QR code of that link.

What installs runs as root, so the command first fetches the centre's CA certificate from anybody, compares the whole
file's hash with the one in the command, and only then fetches the script over TLS that this CA or the system's verify.
The hash of the whole file: who answers in the centre's place could send the real certificate and another behind it.
"""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import segno

LINUX = (
    '(cd "$(mktemp -d)" && curl -fsSko ca.pem {url}/ca.pem && echo "{ca}  ca.pem" | sha256sum -c --quiet && '
    "curl -fsS --cacert ca.pem -o install.sh {url}/install.sh && sudo sh install.sh {url} {token})"
)
WINDOWS = (  # Windows' own curl; in a PowerShell that was started as administrator
    'cd (mkdir "$env:TEMP\\$(New-Guid)"); curl.exe -fsSko ca.pem {url}/ca.pem; '
    "if ((Get-FileHash ca.pem).Hash -ne '{ca}') {{ throw 'ca.pem: not this centre' }}; "
    "curl.exe -fsS --ssl-no-revoke --cacert ca.pem -o install.ps1 {url}/install.ps1; "
    "if ($?) {{ powershell -ExecutionPolicy Bypass -File install.ps1 {url} {token} }}"
)


class Line(NamedTuple):
    """The same token in several ways. ``qr``: SVG.

    ``command``: where the agent is installed already; ``linux``, ``windows``: where it is not.
    """

    command: str
    linux: str
    windows: str
    link: str
    qr: str


def line(url: str, token: str, ca_pem: str) -> Line:
    """The commands to run on a machine, and the link in the QR code: browsers don't send what is behind its ``#``."""
    link = f"{url}/enrol#{token}"
    drawn = io.BytesIO()
    segno.make(link, error="m").save(drawn, kind="svg", scale=4, border=4, xmldecl=False, light="white")
    ca = hashlib.sha256(ca_pem.encode()).hexdigest()
    return Line(
        f"schoolpulse-agent enroll {url} {token}",
        LINUX.format(url=url, token=token, ca=ca),
        WINDOWS.format(url=url, token=token, ca=ca),
        link,
        drawn.getvalue().decode(),
    )


def terminal(link: str) -> str:
    """The QR code in characters."""
    drawn = io.StringIO()
    segno.make(link, error="l").terminal(drawn, compact=True)
    return drawn.getvalue()
