"""A name server is asked one question; only an answer to that very question counts, and any bytes may come."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import dnsquery
from schoolpulse_agent.dnsquery import NoAnswer, ask, parse_resolv, question, rcode


@contextmanager
def name_server(answers: Callable[[bytes], list[bytes]]) -> Iterator[tuple[str, int]]:
    """A name server that says to each question what ``answers`` makes of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                asked, sender = sock.recvfrom(4096)
                if not asked:
                    return
                for each in answers(asked):
                    sock.sendto(each, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()


def found(asked: bytes, code: int = 0) -> bytes:
    """An answer that names one address."""
    head = asked[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1, 0, 0)
    return head + asked[12:] + struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, bytes(4))


def test_a_question_is_laid_out_as_the_standard_says() -> None:
    asked = question(0x1234, "moet.gov.vn.")
    assert asked == b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x04moet\x03gov\x02vn\0\0\x01\0\x01"


@pytest.mark.parametrize("domain", ["", ".", "a..b", "a" * 64 + ".vn", "trường.vn", ".".join(["a" * 60] * 5)])
def test_what_is_no_domain_is_told(domain: str) -> None:
    with pytest.raises(ValueError, match=r"no domain|ascii"):
        question(1, domain)


@pytest.mark.parametrize("code", [0, 2, 3, 5])
def test_a_server_s_answer_is_timed_and_its_code_told(code: int) -> None:
    with name_server(lambda asked: [found(asked, code)]) as server:
        seconds, told = ask(server, "moet.gov.vn", 10)
    assert told == code and 0 < seconds < 10


def test_answers_to_other_questions_are_waited_past() -> None:
    def answers(asked: bytes) -> list[bytes]:
        other = bytes([asked[0] ^ 1]) + found(asked)[1:]
        return [b"", asked, b"\0" * 12, other, found(question(int.from_bytes(asked[:2], "big"), "a.vn")), found(asked)]

    with name_server(answers) as server:
        assert ask(server, "moet.gov.vn", 10)[1] == 0


def test_a_server_that_does_not_answer_costs_no_more_than_the_deadline() -> None:
    with name_server(lambda asked: [asked]) as server, pytest.raises(TimeoutError):
        ask(server, "moet.gov.vn", 0.1)


def test_a_port_where_nobody_listens_is_an_error_of_the_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = taken.getsockname()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "moet.gov.vn", 10)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_an_answer_or_none(answer: bytes, ours: bool) -> None:
    asked = question(7, "moet.gov.vn")
    try:
        assert 0 <= rcode(asked[:2] + answer if ours else answer, asked) <= 15
    except NoAnswer:
        return


def test_the_systems_name_servers_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "# by NetworkManager\nsearch nguyen.lan\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\nnameserver\n"
    (tmp_path / "resolv.conf").write_text(said)
    assert dnsquery.system_servers(tmp_path / "resolv.conf") == ["192.168.1.1", "fe80::1%eth0"]
    monkeypatch.delitem(sys.modules, "winreg", raising=False)
    assert dnsquery.system_servers(tmp_path / "none") == []


@given(st.text(max_size=100))
def test_any_text_names_servers_or_none(said: str) -> None:
    assert all(server and " " not in server for server in parse_resolv(said))


def test_windows_keeps_them_for_each_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {
        "{a}": {"NameServer": "", "DhcpNameServer": "192.168.1.1 8.8.8.8"},
        "{b}": {"NameServer": "1.1.1.1,192.168.1.1"},
        "{c}": {},
    }

    class Key:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> Key:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def value(card: Key, name: str) -> tuple[str, int]:
        if name not in cards[card.name]:
            raise FileNotFoundError
        return cards[card.name][name], 1

    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE="HKLM",
        OpenKey=lambda root, name: Key(name),
        QueryInfoKey=lambda key: (len(cards), 0, 0),
        EnumKey=lambda key, number: list(cards)[number],
        QueryValueEx=value,
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    assert dnsquery.system_servers(tmp_path / "none") == ["192.168.1.1", "8.8.8.8", "1.1.1.1"]
