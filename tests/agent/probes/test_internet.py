"""The line is measured by one machine of a room against targets of its own file, within a budget; here on loopback."""

from __future__ import annotations

import http.server
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import cycle, icmp, plainhttp, remote, settings
from schoolpulse_agent.probe import Reading, listed
from schoolpulse_agent.probes import internet
from schoolpulse_agent.probes.internet import Probe, host_port, page, ping, resolve, speed, times

BODY = b"x" * 1_500_000


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204 if self.path.startswith("/generate_204") else 200)
        self.end_headers()
        if self.path == "/large":
            self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A real web server on loopback, its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        if context:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A port whose connections nobody takes: the queue before it is full, as behind a firewall that says nothing."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PING_WAIT", "DNS_WAIT", "TCP_WAIT", "HTTP_WAIT", "DOWNLOAD_WAIT"):
        monkeypatch.setattr(internet, name, 0.3)
    monkeypatch.setattr(internet, "GAP", 0.01)


@pytest.fixture
def no_icmp(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(icmp, "opened", refused)


# Ping


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("1.1.1.1", ("1.1.1.1", 443)),
        ("may-chu.vn:8443", ("may-chu.vn", 8443)),
        ("[2606:4700::1111]:53", ("2606:4700::1111", 53)),
        ("2606:4700::1111", ("2606:4700::1111", 443)),
    ],
)
def test_a_target_is_a_host_and_perhaps_a_port(target: str, expected: tuple[str, int]) -> None:
    assert host_port(target, 443) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_a_value_error(target: str) -> None:
    try:
        host, port = host_port(target, 443)
    except ValueError:
        return
    assert host and 0 < port < 65_536


def test_the_fields_of_pings_are_telegrafs() -> None:
    assert times([0.010, 0.020, 0.030], 4) == {
        "packets_transmitted": 4.0,
        "packets_received": 3.0,
        "percent_packet_loss": 25.0,
        "result_code": 0.0,
        "average_response_ms": 20.0,
        "minimum_response_ms": 10.0,
        "maximum_response_ms": 30.0,
        "standard_deviation_ms": 8.165,
    }
    assert "average_response_ms" not in times([], 4) and times([], 4)["percent_packet_loss"] == 100.0


def test_a_host_that_answers_is_pinged(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """The system's part is taken by a socket that replies as a host would; the real one is tried in test_icmp.py."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def replies() -> None:
        for _ in range(internet.COUNT):
            asked = theirs.recv(2048)
            theirs.send(b"\0" + asked[1:])

    class Echo:
        def __enter__(self) -> Echo:
            return self

        def __exit__(self, *_: object) -> None:
            ours.close()

        def connect(self, address: tuple[Any, ...]) -> None:
            assert address == ("127.0.0.1", 0)

        def __getattr__(self, name: str) -> Any:
            return getattr(ours, name)

    monkeypatch.setattr(icmp, "opened", lambda family: {socket.AF_INET: Echo()}[family])
    thread = threading.Thread(target=replies)
    thread.start()
    found = ping("127.0.0.1")
    thread.join()
    theirs.close()
    assert (found.measurement, found.tags) == ("ping", {"url": "127.0.0.1"})
    assert found.fields["packets_received"] == 10.0 and 0 < found.fields["average_response_ms"] < 1000


def test_where_ping_is_not_allowed_connections_are_timed(no_icmp: None, quick: None, closed: str, silent: str) -> None:
    with web() as server:
        found = ping(server)
    assert found.measurement == "net_response" and found.fields["result_code"] == 0.0
    assert found.tags == {"server": "127.0.0.1", "port": server.partition(":")[2], "protocol": "tcp"}
    assert 0 < found.fields["response_time"] < 1
    assert ping(closed).fields == {"result_code": 2.0}
    assert ping(silent).fields == {"result_code": 1.0}


def test_a_host_that_has_no_address_is_told_as_telegraf_does() -> None:
    for target in ("", "no host", "a:99999999"):
        assert ping(target) == Reading("ping", {"url": target}, {"result_code": 1.0})


# Name servers


def test_a_name_server_that_says_nothing_or_is_not_there_is_told(quick: None, closed: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{mute.getsockname()[1]}"
        found = resolve(server, "moet.gov.vn")
    assert found.tags == {"server": server, "domain": "moet.gov.vn", "record_type": "A"}
    assert found.fields == {"result_code": 1.0}
    assert resolve(closed, "moet.gov.vn").fields == {"result_code": 2.0}
    assert resolve(server, "no domain..").fields == {"result_code": 2.0}


@pytest.mark.parametrize(("code", "result"), [(0, 0.0), (3, 2.0)])
def test_a_name_servers_answer_is_timed(code: int, result: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            asked, sender = sock.recvfrom(4096)
            sock.sendto(asked[:2] + bytes([0x81, 0x80 | code]) + asked[4:], sender)

        thread = threading.Thread(target=serve)
        thread.start()
        found = resolve(f"127.0.0.1:{sock.getsockname()[1]}", "moet.gov.vn")
        thread.join()
    assert (found.fields["result_code"], found.fields["rcode_value"]) == (result, code)
    assert 0 < found.fields["query_time_ms"] < 2000


# Pages


def test_a_page_is_timed_and_its_status_told() -> None:
    with web() as server:
        found = page(f"http://an:secret@{server}/generate_204?token=x")
    assert found.tags == {"server": f"http://{server}/generate_204", "method": "GET"}
    assert found.fields["http_response_code"] == 204.0 and found.fields["result_code"] == 0.0
    assert 0 < found.fields["response_time"] < 10


def test_an_encrypted_page_is_timed_whoever_signed_its_certificate() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("of-the-schools-filter.vn").configure_cert(context)
    with web(context) as server:
        assert page(f"https://{server}/").fields["result_code"] == 0.0


def test_why_a_page_does_not_come_is_told(
    quick: None, closed: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page(f"http://{closed}/").fields == {"result_code": 3.0}
    assert page(f"http://{silent}/").fields == {"result_code": 4.0}
    with web() as server:
        assert page(f"https://{server}/").fields == {"result_code": 3.0}  # it speaks no TLS
    with pytest.raises(ValueError, match="write it as"):
        page("internet")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert page("http://khong-co.vn/").fields == {"result_code": 5.0}


# Speed


def test_the_speed_is_that_of_a_bounded_part_of_a_file() -> None:
    with web() as server:
        found = speed(f"http://{server}/large", 1.2)
        assert found and found.measurement == "internet_speed" and found.fields["download"] > 1
        assert speed(f"http://{server}/small", 10) is None  # says nothing of the line


def test_it_is_measured_once_a_day_in_its_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(internet, "speed", lambda url, mb: asked.append((url, mb)))
    now, clock = [time.struct_time((2026, 11, 28, 11, 59, 0, 5, 332, 0)), 0.0], internet.time
    fake = SimpleNamespace(localtime=lambda: now[0], monotonic=lambda: now[1], sleep=clock.sleep)
    monkeypatch.setattr(internet, "time", fake)
    monkeypatch.setattr(random, "randrange", lambda top: 30)
    probe = Probe(spread=0, ping=(), domains=(), http=(), download="http://x/", download_mb=5000)

    def at(day: int, hour: int, minute: int) -> int:
        now[0] = time.struct_time((2026, 11, day, hour, minute, 0, 5, 332, 0))
        now[1] = ((day * 24 + hour) * 60 + minute) * 60.0
        assert list(probe.read()) == []
        return len(asked)

    assert [at(1, 11, 59), at(1, 12, 25), at(1, 12, 30), at(1, 12, 35), at(1, 13, 40)] == [0, 0, 1, 1, 1]
    assert [at(2, 12, 10), at(2, 12, 45)] == [1, 2]
    assert asked[0] == ("http://x/", 200.0)  # never more


def test_nothing_is_downloaded_unless_the_machines_own_file_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internet, "speed", lambda *_: 1 / 0)
    assert list(Probe(spread=0, ping=(), domains=(), http=(), download_hour=time.localtime().tm_hour).read()) == []


# All together


def test_all_targets_are_measured_and_the_wire_takes_what_is_found(no_icmp: None, quick: None, closed: str) -> None:
    with web() as server:
        targets = {"ping": (server, closed, server), "dns": (closed,), "http": (f"http://{server}/",)}
        found = list(Probe(spread=0, **targets).read())
    assert [each.measurement for each in found] == ["net_response", "net_response", "dns_query", "http_response"]
    assert all(listed("internet", each) for each in found)


def test_no_more_than_a_few_targets_are_asked_and_none_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measured(*target: str) -> Reading:
        asked.append(target[0])
        return Reading("ping", {"url": target[0]}, {"result_code": 0.0})

    for name in ("ping", "resolve", "page"):
        monkeypatch.setattr(internet, name, measured)
    many = ("", *map(str, range(100)))
    list(Probe(spread=0, ping=many, dns=many, domains=many, http=many).read())
    assert len(asked) == 5 + 3 * 2 + 5
    monkeypatch.setattr(internet, "BUDGET", -1.0)
    assert list(Probe(spread=0, ping=many).read()) == []


def test_the_systems_name_servers_are_asked_unless_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internet.dnsquery, "system_servers", lambda: ["192.168.1.1"])
    monkeypatch.setattr(internet, "resolve", lambda server, domain: (server, domain))
    assert list(Probe(spread=0, ping=(), http=()).read()) == [("192.168.1.1", "moet.gov.vn")]
    assert list(Probe(spread=0, ping=(), http=(), dns=("10.0.0.1",)).read()) == [("10.0.0.1", "moet.gov.vn")]


def test_machines_wait_a_random_time_but_never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(internet.time, "sleep", slept.append)
    for spread in (20.0, -5.0, 1e9):
        list(Probe(spread=spread, ping=(), domains=(), http=()).read())
    assert 0 <= slept[0] <= 20 and slept[1] == 0 and 0 <= slept[2] <= 60
    assert Probe.patience > internet.SPREAD + internet.BUDGET + internet.DOWNLOAD_WAIT


def test_it_is_read_where_the_centre_says_so_or_the_machines_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = {"spread": 0.0, "ping": (), "domains": (), "http": ("http://x/",)}
    monkeypatch.setattr(internet, "page", lambda url: Reading("http_response", {"server": url}, {"result_code": 0.0}))
    reads = cycle.Cycle({"internet": Probe(**quiet)})
    assert reads.read() == {}
    reads.duties = frozenset({"internet"})
    assert "http_response,server=http://x/" in reads.read()
    assert "http_response,server=http://x/" in cycle.Cycle({"internet": Probe(always=True, **quiet)}).read()


@pytest.mark.parametrize("wanted", ["ping", "dns", "domains", "http", "download", "download_mb"])
def test_the_centre_can_send_a_machine_nowhere(wanted: str) -> None:
    with pytest.raises(settings.SettingsError, match="machine's own file"):
        remote.merged(settings.parse({}, "x"), {"probe": {"internet": {wanted: ["evil.example"]}}})
    assert (
        remote.merged(settings.parse({}, "x"), {"probe": {"internet": {"every": 600}}}).probes["internet"].every == 600
    )


def test_a_page_that_breaks_off_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise plainhttp.BadAnswer("it breaks off")

    monkeypatch.setattr(plainhttp, "get", broken)
    assert page("http://x/").fields == {"result_code": 3.0}
