"""One question over HTTP/1.0 and its answer, with a deadline and a limit: the standard library's client is too heavy.

``http.client`` brings the e-mail package with it, 3 MB of memory that stay; CUPS and a timing need none of it.
"""

from __future__ import annotations

import re
import socket
import time
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

HEAD = 32_768  # bytes of a status line and headers
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r]").match
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE).search


class BadAnswer(Exception):
    """What came is no answer in HTTP/1.x, or breaks off."""


class Answer(NamedTuple):
    """``first``: seconds until its headers were there; ``seconds``: until its end; ``size``: bytes of its body."""

    status: int
    body: bytes
    first: float
    seconds: float
    size: int


def ask(sock: socket.socket, question: bytes, seconds: float, limit: int = 1_000_000, keep: bool = True) -> Answer:
    """Send a question and take at most ``limit`` bytes of the answer's body; without ``keep`` only count them.

    Raises BadAnswer, OSError, and TimeoutError (on Python 3.9 ``socket.timeout``) after so many seconds in all.
    """
    start = time.monotonic()
    end = start + seconds
    sock.settimeout(seconds)
    sock.sendall(question)
    head, body = _head(sock, end)
    first = time.monotonic() - start
    status, length = _STATUS(head), _LENGTH(head)
    if not status:
        raise BadAnswer("no HTTP")
    wanted = min(limit, int(length[1])) if length else limit
    kept, size = [body[:wanted]], min(len(body), wanted)
    while size < wanted:
        more = _receive(sock, end)[: wanted - size]
        if not more:
            break
        size += len(more)
        if keep:
            kept.append(more)
    if length and size < wanted:
        raise BadAnswer("it breaks off")
    return Answer(int(status[1]), b"".join(kept) if keep else b"", first, time.monotonic() - start, size)


def get(url: str, seconds: float, limit: int, keep: bool = True) -> Answer:
    """GET a page. Raises what ``ask`` raises, ``socket.gaierror`` for an unknown name, ValueError for no URL."""
    parts = _split(url)
    host, secure = str(parts.hostname), parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = parts.netloc.rpartition("@")[2]
    question = f"GET {path} HTTP/1.0\r\nHost: {named}\r\nUser-Agent: schoolpulse-agent\r\nAccept: */*\r\n\r\n"
    sock = socket.create_connection((host, parts.port or (443 if secure else 80)), seconds)
    with _tls(sock, host) if secure else sock as talk:
        return ask(talk, question.encode(), seconds, limit, keep)


def shown(url: str) -> str:
    """A URL without what may be secret in it: a user, a password, a query. Raises ValueError for no URL."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.port == 0:
        raise ValueError(f"{url[:60]!r} is no web page: write it as https://host/path")
    return parts


def _tls(sock: socket.socket, host: str) -> socket.socket:
    """Encrypted, whoever answers: only time is looked at, and a school's filter may have a certificate of its own."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


def _head(sock: socket.socket, end: float) -> tuple[bytes, bytes]:
    """Headers up to their last line's end, and what came with them of the body."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = _receive(sock, end)
        if not more or len(said) > HEAD:
            raise BadAnswer("no end of headers")
        said += more
    head, _, body = said.partition(b"\r\n\r\n")
    return head + b"\r\n", body


def _receive(sock: socket.socket, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    sock.settimeout(left)
    return sock.recv(65_536)
