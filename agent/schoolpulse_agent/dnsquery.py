"""One question to a name server (RFC 1035, 4.1), to see how long its answer takes; what it answers is not looked at."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from pathlib import Path
from typing import Any

A, INTERNET = 1, 1
RESOLV = Path("/etc/resolv.conf")
INTERFACES = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces"


class NoAnswer(Exception):
    """These bytes do not answer the question; another packet still may."""


def question(number: int, domain: str) -> bytes:
    """A question for a domain's IPv4 address, by way of other servers. Raises ValueError for what is no name."""
    labels = domain.rstrip(".").encode("ascii").split(b".")  # UnicodeEncodeError is a ValueError
    if not all(0 < len(label) < 64 for label in labels) or len(domain) > 253:
        raise ValueError(f"{domain[:60]!r} is no domain name")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", A, INTERNET)


def rcode(answer: bytes, asked: bytes) -> int:
    """The answer's code (0: found, 2: the server failed, 3: no such name). Raises NoAnswer and nothing else."""
    if len(answer) < 12 or answer[:2] != asked[:2] or not answer[2] & 0x80:
        raise NoAnswer
    if answer[4:6] == b"\0\1" and answer[12 : len(asked)].lower() != asked[12:].lower():
        raise NoAnswer  # it repeats another question
    return answer[3] & 0x0F


def ask(server: tuple[str, int], domain: str, seconds: float) -> tuple[float, int]:
    """Seconds until a server's answer, and its code. Raises OSError, ValueError; TimeoutError if none comes in time."""
    asked = question(secrets.randbelow(65536), domain)
    family, kind, protocol, _, address = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.connect(address)  # nobody else's packets are taken
        start = time.monotonic()
        sock.send(asked)
        while True:
            left = start + seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            sock.settimeout(left)
            try:
                code = rcode(sock.recv(4096), asked)
            except NoAnswer:
                continue
            return time.monotonic() - start, code


def parse_resolv(said: str) -> list[str]:
    """The name servers of resolv.conf(5)."""
    lines = (line.split() for line in said.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def system_servers(path: Path = RESOLV) -> list[str]:
    """The name servers that this machine uses; none if that can't be read."""
    if path.exists():
        return parse_resolv(path.read_text(encoding="utf-8", errors="replace"))
    return servers_of_windows()


def servers_of_windows() -> list[str]:
    """The same, from the registry. Not yet run on a real Windows."""
    try:
        import winreg
    except ImportError:  # not Windows
        return []
    windows: Any = winreg
    found: list[str] = []
    with windows.OpenKey(windows.HKEY_LOCAL_MACHINE, INTERFACES) as key:
        for number in range(windows.QueryInfoKey(key)[0]):
            with windows.OpenKey(key, windows.EnumKey(key, number)) as card:
                found += _servers(windows, card)
    return list(dict.fromkeys(found))


def _servers(windows: Any, card: Any) -> list[str]:
    for name in ("NameServer", "DhcpNameServer"):
        try:
            said = str(windows.QueryValueEx(card, name)[0])
        except OSError:
            continue
        if said.strip():
            return said.replace(",", " ").split()
    return []
