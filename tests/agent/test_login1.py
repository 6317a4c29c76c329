"""Logind is asked two things over the bus; what else the bus says, or nothing at all, ends in time and in no answer."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import login1
from schoolpulse_agent.login1 import NoAnswer, idle_since, message, parse


def reply(number: int, types: bytes, body: bytes, kind: int = 2, order: str = "<") -> bytes:
    """A message as the bus passes it on: with the number it replies to and who sent it."""
    fields = struct.pack("BB2sI", 5, 1, b"u\0", number)
    if order == ">":
        fields = struct.pack(">BB2sI", 5, 1, b"u\0", number)
    sender = b"\7\1s\0" + struct.pack(f"{order}I", 4) + b":1.5\0"
    fields = fields + sender
    fields += b"\0" * (-len(fields) % 8) + b"\x08\x01g\0" + bytes([len(types)]) + types + b"\0"
    head = (b"l" if order == "<" else b"B") + struct.pack(f"{order}BBBIII", kind, 1, 1, len(body), number, len(fields))
    return head + fields + b"\0" * (-(len(head) + len(fields)) % 8) + body


def told(idle: bool, since: float, order: str = "<") -> list[bytes]:
    """What the bus sends when logind says this."""
    return [
        reply(1, b"s", struct.pack(f"{order}I", 4) + b":1.9\0", order=order),
        reply(2, b"s", struct.pack(f"{order}I", 4) + b":1.9\0", kind=4, order=order),  # NameAcquired, a signal
        reply(2, b"v", b"\1b\0\0" + struct.pack(f"{order}I", idle), order=order),
        reply(3, b"v", b"\1t\0\0\0\0\0\0" + struct.pack(f"{order}Q", int(since * 1e6)), order=order),
    ]


@contextmanager
def bus(says: Callable[[bytes], list[bytes]], auth: bytes = b"OK 0123456789abcdef\r\n") -> Iterator[str]:
    """A bus that checks who signs in and what is asked, and then says this."""
    with tempfile.TemporaryDirectory(prefix="bus") as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/s")
        listening.listen()

        def serve() -> None:
            with listening.accept()[0] as sock:
                assert sock.recv(100) == b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"
                sock.sendall(auth)
                asked = sock.recv(4096) if auth.startswith(b"OK") else b""
                for each in says(asked):
                    sock.sendall(each)
                sock.recv(1)  # until the other side goes

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"{folder}/s"
        thread.join()


@pytest.mark.parametrize("order", ["<", ">"])
def test_since_when_nobody_has_touched_anything_is_told(order: str) -> None:
    with bus(lambda _: told(True, 1_795_886_982.4, order)) as path:
        assert idle_since(path, 10) == 1_795_886_982.4
    with bus(lambda _: told(False, 1_795_886_982.4, order)) as path:
        assert idle_since(path, 10) is None


def test_an_answer_may_come_in_pieces() -> None:
    whole = b"".join(told(True, 5.0))
    with bus(lambda _: [whole[:9], whole[9:40], whole[40:-3], whole[-3:]]) as path:
        assert idle_since(path, 10) == 5.0


def test_no_more_is_asked_than_two_properties_of_the_manager() -> None:
    asked: list[bytes] = []
    with bus(lambda said: asked.append(said) or told(True, 5.0)) as path:
        idle_since(path, 10)
    assert asked[0].startswith(b"BEGIN\r\n")
    rest, members = asked[0][7:], []
    while rest:
        kind, order, body, rest = parse(rest)
        assert (kind, order) == (1, "<")
        members.append(body.split(b"\0")[-2] if body else b"Hello")
    assert members == [b"Hello", b"IdleHint", b"IdleSinceHint"]
    assert b"Session" not in asked[0] and b"User" not in asked[0]


@pytest.mark.parametrize(
    "says",
    [
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [*told(True, 5.0)[:2], reply(2, b"s", struct.pack("<I", 2) + b"no\0", kind=3)],
        [*told(True, 5.0)[:3], reply(3, b"v", b"\1s\0\0" + struct.pack("<I", 2) + b"an\0")],
        [b"l\2\1\1" + struct.pack("<III", 2**31, 1, 8)],
        told(True, 5.0)[:2],  # and then nothing
    ],
)
def test_anything_else_is_no_answer(says: list[bytes]) -> None:
    with bus(lambda _: says) as path, pytest.raises((NoAnswer, TimeoutError)):
        idle_since(path, 0.3)


def test_a_bus_that_lets_nobody_in_or_is_not_there_is_an_error() -> None:
    with bus(lambda _: [], b"REJECTED EXTERNAL\r\n") as path, pytest.raises(NoAnswer, match="let this user in"):
        idle_since(path, 10)
    with pytest.raises(FileNotFoundError):
        idle_since("/no/such/bus", 1)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"l\2\1\1" + rest))
def test_any_bytes_are_a_message_an_unfinished_one_or_none(said: bytes) -> None:
    try:
        kind, _, body, rest = parse(said)
    except NoAnswer:
        return
    assert len(body) + len(rest) <= len(said)
    assert kind or rest == said or said[1] == 0


def test_a_call_is_laid_out_as_the_specification_says() -> None:
    call = message(7, b"/a", b"b.c", b"d.e", b"F", b"s", b"\1\0\0\0x\0")
    assert call[:16] == b"l\1\0\1" + struct.pack("<III", 6, 7, 71)
    assert len(call) % 2 == 0 and call.endswith(b"\1\0\0\0x\0")
    assert login1.BUS == "/run/dbus/system_bus_socket"
