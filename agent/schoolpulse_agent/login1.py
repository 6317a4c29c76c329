"""Asks logind how long nobody has touched any desktop: two values over the system's bus, of nobody's session.

As much of the D-Bus specification as two properties of org.freedesktop.login1's Manager take; starting ``loginctl``
for them would cost 3 ms each minute.
"""

from __future__ import annotations

import os
import socket
import struct
import time

BUS = "/run/dbus/system_bus_socket"
LIMIT = 65_536  # bytes that an answer may have
RETURN, ERROR = 2, 3  # kinds of messages
# Codes of header fields and the types of their values.
PATH, INTERFACE, MEMBER, DESTINATION, SIGNATURE = (1, b"o"), (2, b"s"), (3, b"s"), (6, b"s"), (8, b"g")
MANAGER = b"org.freedesktop.login1.Manager"


class NoAnswer(Exception):
    """The bus or logind did not say what was asked."""


def idle_since(path: str = BUS, seconds: float = 0.2) -> float | None:
    """Since when all sessions are idle, in seconds since 1970; None if one is not. Raises OSError, NoAnswer."""
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(path)
        sock.sendall(b"\0AUTH EXTERNAL %b\r\n" % str(os.getuid()).encode().hex().encode())
        said = b""
        while not said.endswith(b"\r\n"):
            said += _more(sock, end)
        if not said.startswith(b"OK "):
            raise NoAnswer("the bus does not let this user in")
        hello = (b"/org/freedesktop/DBus", b"org.freedesktop.DBus", b"org.freedesktop.DBus", b"Hello")
        asked = [message(1, *hello), _get(2, b"IdleHint"), _get(3, b"IdleSinceHint")]
        sock.sendall(b"BEGIN\r\n" + b"".join(asked))
        return _answer(sock, end)


def _answer(sock: socket.socket, end: float) -> float | None:
    """What the second and third replies say; the bus' own signals between them are stepped over."""
    said = b""
    bodies: list[tuple[str, bytes]] = []
    while len(bodies) < 3:
        kind, order, body, said = parse(said)
        if kind == RETURN:
            bodies.append((order, body))
        elif kind == ERROR:
            raise NoAnswer("logind refuses")
        elif not kind:
            said += _more(sock, end)
    (_, _), (order, hint), (_, since) = bodies
    if hint[:3] != b"\1b\0" or since[:3] != b"\1t\0" or len(hint) != 8 or len(since) != 16:
        raise NoAnswer("logind answers something else")
    idle, at = struct.unpack(f"{order}I", hint[4:])[0], struct.unpack(f"{order}Q", since[8:])[0]
    return float(at) / 1e6 if idle else None


def _more(sock: socket.socket, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise NoAnswer("not in time")
    sock.settimeout(left)
    more = sock.recv(LIMIT)
    if not more:
        raise NoAnswer("the bus hangs up")
    return more


def parse(said: bytes) -> tuple[int, str, bytes, bytes]:
    """Kind, byte order and body of the first message, and what comes after it; kind 0 if it is not all there yet."""
    if len(said) < 16:
        return 0, "", b"", said
    order = {b"l": "<", b"B": ">"}.get(said[:1], "")
    if not order:
        raise NoAnswer("no D-Bus")
    size, _, fields = struct.unpack_from(f"{order}III", said, 4)
    start = 16 + (fields + 7) // 8 * 8
    if start + size > LIMIT:
        raise NoAnswer("too long")
    if len(said) < start + size:
        return 0, "", b"", said
    return said[1], order, said[start : start + size], said[start + size :]


def _get(number: int, name: bytes) -> bytes:
    body = _text(_text(b"", MANAGER), name)
    to = (b"/org/freedesktop/login1", b"org.freedesktop.login1", b"org.freedesktop.DBus.Properties", b"Get")
    return message(number, *to, b"ss", body)


def message(
    number: int, path: bytes, to: bytes, interface: bytes, member: bytes, types: bytes = b"", body: bytes = b""
) -> bytes:
    """A method call."""
    fields = b""
    for (code, kind), value in ((PATH, path), (DESTINATION, to), (INTERFACE, interface), (MEMBER, member)):
        fields = _text(_padded(fields, 8) + bytes([code, 1]) + kind + b"\0", value)
    if types:
        code, kind = SIGNATURE
        fields = _padded(fields, 8) + bytes([code, 1]) + kind + b"\0" + bytes([len(types)]) + types + b"\0"
    head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), number, len(fields))
    return _padded(head + fields, 8) + body


def _padded(said: bytes, step: int) -> bytes:
    return said + b"\0" * (-len(said) % step)


def _text(said: bytes, value: bytes) -> bytes:
    return _padded(said, 4) + struct.pack("<I", len(value)) + value + b"\0"
