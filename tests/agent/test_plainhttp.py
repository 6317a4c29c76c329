"""A question over HTTP ends with an answer, a clear error or the deadline, whatever the other side sends."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolpulse_agent import plainhttp
from schoolpulse_agent.plainhttp import BadAnswer, ask, get, shown

PAGE = b"x" * 200_000


class Page(http.server.BaseHTTPRequestHandler):
    """Says what it was asked for; keeps what it was sent."""

    asked: list[str] = []  # noqa: RUF012 - of the whole server

    def do_GET(self) -> None:
        self.asked.append(f"{self.requestline} {self.headers['Host']}")
        self.send_response(503 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a real HTTP server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def answered(said: bytes, *, ends: bool = True, seconds: float = 5.0, limit: int = 1000) -> plainhttp.Answer:
    """What is made of these bytes of an answer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        return ask(ours, b"GET / HTTP/1.0\r\n\r\n", seconds, limit)


def test_a_page_is_fetched_up_to_the_limit(server: str) -> None:
    Page.asked.clear()
    found = get(f"http://user:secret@{server}/a?b=c", 10, 1_000_000)
    assert (found.status, found.body, found.size) == (200, PAGE, len(PAGE))
    assert 0 < found.first <= found.seconds
    assert Page.asked == [f"GET /a?b=c HTTP/1.0 {server}"]
    assert get(f"http://{server}/broken", 10, 1000).status == 503
    part = get(f"http://{server}/", 10, 1000, keep=False)
    assert (part.size, part.body) == (1000, b"")


def test_an_answer_ends_with_its_length_even_if_the_connection_stays() -> None:
    found = answered(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcdef", ends=False)
    assert (found.body, found.size) == (b"abc", 3)
    assert answered(b"HTTP/1.0 204 No Content\r\n\r\n").body == b""
    assert answered(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 5000).size == 1000


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
    ],
)
def test_what_is_no_answer_is_refused(said: bytes) -> None:
    with pytest.raises((BadAnswer, ConnectionError)):
        answered(said)


def test_a_server_that_says_nothing_costs_no_more_than_the_deadline() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        answered(b"HTTP/1.1 200 OK\r\n", ends=False, seconds=0.2)
    assert time.monotonic() - start < 10


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_answer_or_none(said: bytes) -> None:
    try:
        assert 100 <= answered(said).status <= 599
    except BadAnswer:
        return


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown("https://an:secret@host.vn:8443/path?token=x#y") == "https://host.vn:8443/path"


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host/", "http://", "http://a b/", "http://a/\r\nX: y", "http://[a", "http://a:0/"]
)
def test_what_is_no_web_page_is_told_with_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match=r"write it as|URL|IPv6"):
        shown(url)
