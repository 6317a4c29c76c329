"""Ping: requests as the standard lays them out, and of what comes back only replies to them count."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import icmp
from schoolpulse_agent.icmp import checksum, ping, reply, request

V4, V6 = socket.AF_INET, socket.AF_INET6


def pinged(answers: Callable[[bytes], list[bytes]], count: int = 4, family: int = V4, wait: float = 5.0) -> list[float]:
    """What is measured when the other side says to each request what ``answers`` makes of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def serve() -> None:
        for _ in range(count):
            for each in answers(theirs.recv(2048)):
                theirs.send(each)

    with ours, theirs:
        thread = threading.Thread(target=serve)
        thread.start()
        took = ping(ours, family, count, gap=0.01, wait=wait)
        thread.join()
    return took


def echoed(asked: bytes, kind: int = 0) -> bytes:
    """As a host replies: its own kind, all else as it was."""
    return bytes([kind]) + asked[1:]


def test_a_request_has_the_standards_kind_number_and_checksum() -> None:
    asked = request(V4, 3, b"token of 16 byte")
    assert struct.unpack_from(">BB", asked) == (8, 0) and asked[6:8] == b"\0\3"
    assert checksum(asked) == 0  # as the receiver checks it
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # RFC 1071's example
    assert request(V6, 0, b"")[0] == 128


def test_replies_are_timed() -> None:
    took = pinged(lambda asked: [echoed(asked)])
    assert len(took) == 4 and all(0 < seconds < 5 for seconds in took)
    assert len(pinged(lambda asked: [echoed(asked, 129)], family=V6)) == 4


def test_the_ip_header_that_macos_puts_before_it_is_stepped_over() -> None:
    assert len(pinged(lambda asked: [b"\x45" + bytes(19) + echoed(asked)])) == 4


def test_a_lost_reply_is_missing_and_one_that_comes_twice_counts_once() -> None:
    def answers(asked: bytes) -> list[bytes]:
        return [] if asked[7] == 1 else [echoed(asked), echoed(asked)]

    assert len(pinged(answers, wait=0.2)) == 3


def test_what_replies_to_somebody_else_does_not_count() -> None:
    def answers(asked: bytes) -> list[bytes]:
        late = asked[:6] + b"\0\x63" + asked[8:]
        return [asked, echoed(asked)[:-1] + b"?", echoed(late), b"", b"\x45", b"\x4f"]

    start = time.monotonic()
    assert pinged(answers, wait=0.1) == []
    assert time.monotonic() - start < 10


@given(st.binary(max_size=80), st.sampled_from([V4, V6]))
def test_any_packet_is_a_reply_or_none(packet: bytes, family: int) -> None:
    assert reply(family, packet, b"0123456789abcdef") is None
    number = reply(family, packet, packet[8:])
    assert number is None or 0 <= number < 65_536


def test_what_the_network_says_of_errors_is_no_reply() -> None:
    class Unreachable:
        def send(self, _: bytes) -> None:
            raise OSError(101, "Network is unreachable")

        def settimeout(self, _: float) -> None:
            pass

        def recv(self, _: int) -> bytes:
            raise ConnectionRefusedError

    assert ping(Unreachable(), V4, 2, gap=0.01, wait=0.01) == []  # type: ignore[arg-type]


def test_this_machine_replies_or_the_system_says_that_it_is_not_allowed() -> None:
    try:
        sock = icmp.opened(V4)
    except PermissionError:
        return
    with sock:
        sock.connect(("127.0.0.1", 0))
        assert len(ping(sock, V4, 3, gap=0.01, wait=5.0)) == 3
