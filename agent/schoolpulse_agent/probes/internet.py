"""How good the room's Internet line is: ping, name server, web page, and speed once a day if that is wanted.

One machine of a room measures for all, the one that the centre names, or one whose own file says ``always``. Whom it
asks stands in the machine's own file alone: the centre can't have a school's machines call anybody.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar
from urllib.parse import urlsplit

from schoolpulse_agent import dnsquery, icmp, plainhttp
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("ping", "average_response_ms"): Metric("ms", "Ping, mean", "Ping trung bình", "24.1"),
    ("ping", "minimum_response_ms"): Metric("ms", "Ping, shortest", "Ping thấp nhất", "22.7"),
    ("ping", "maximum_response_ms"): Metric("ms", "Ping, longest", "Ping cao nhất", "31.9"),
    ("ping", "standard_deviation_ms"): Metric("ms", "Ping, spread", "Độ dao động của ping", "2.4"),
    ("ping", "percent_packet_loss"): Metric("%", "Packets lost", "Mất gói", "0"),
    ("ping", "packets_transmitted"): Metric("1", "Pings sent", "Số gói ping đã gửi", "10"),
    ("ping", "packets_received"): Metric("1", "Pings answered", "Số gói ping được trả lời", "10"),
    ("ping", "result_code"): Metric(
        "1", "Ping: 0 done, 1 no such host, 2 not possible", "Ping: 0 xong, 1 không có máy này, 2 không thực hiện được",
        "0",
    ),
    ("net_response", "response_time"): Metric("s", "Time to connect (TCP)", "Thời gian kết nối (TCP)", "0.024"),
    ("net_response", "result_code"): Metric(
        "1", "Connecting: 0 done, 1 timeout, 2 failed", "Kết nối: 0 xong, 1 quá hạn, 2 lỗi", "0"
    ),
    ("dns_query", "query_time_ms"): Metric(
        "ms", "Name server's time to answer", "Thời gian trả lời của máy chủ tên miền (DNS)", "8.3"
    ),
    ("dns_query", "rcode_value"): Metric(
        "1", "Name server's answer: 0 found, 2 failed, 3 no such name", "DNS trả lời: 0 có, 2 lỗi, 3 không có tên này",
        "0",
    ),
    ("dns_query", "result_code"): Metric(
        "1", "Name server: 0 answers, 1 timeout, 2 error", "DNS: 0 trả lời, 1 quá hạn, 2 lỗi", "0"
    ),
    ("http_response", "response_time"): Metric(
        "s", "Web page's time to answer", "Thời gian trả lời của trang web", "0.21"
    ),
    ("http_response", "http_response_code"): Metric("1", "Web page's status", "Mã trạng thái của trang web", "204"),
    ("http_response", "result_code"): Metric(
        "1", "Web page: 0 answers, 3 failed, 4 timeout, 5 name unknown",
        "Trang web: 0 trả lời, 3 lỗi, 4 quá hạn, 5 không rõ tên", "0",
    ),
    ("internet_speed", "download"): Metric("Mbit/s", "Download speed", "Tốc độ tải xuống", "86.5"),
}  # fmt: skip
_EN = "of those in this machine's own file"
_OF = "trong danh sách của riêng máy này"
TAGS = {
    ("ping", "url"): Tag(f"Who was asked, {_EN}", f"Máy được hỏi, {_OF}", "1.1.1.1"),
    ("net_response", "server"): Tag(f"Who was asked, {_EN}", f"Máy được hỏi, {_OF}", "1.1.1.1"),
    ("net_response", "port"): Tag("Port that was asked", "Cổng được hỏi", "443"),
    ("net_response", "protocol"): Tag("Always tcp", "Luôn là tcp", "tcp"),
    ("dns_query", "server"): Tag("Name server of this machine", "Máy chủ DNS của máy này", "192.168.1.1"),
    ("dns_query", "domain"): Tag(f"Name that was asked for, {_EN}", f"Tên miền được hỏi, {_OF}", "moet.gov.vn"),
    ("dns_query", "record_type"): Tag("Always A", "Luôn là A", "A"),
    ("http_response", "server"): Tag(
        f"Page that was asked for, {_EN}", f"Trang được hỏi, {_OF}", "https://www.gstatic.com/generate_204"
    ),
    ("http_response", "method"): Tag("Always GET", "Luôn là GET", "GET"),
}
WHY = Why(
    "Shows whether slow lessons come from the Internet line, and proves it to the provider.",
    "Cho biết giờ học chậm có phải do đường truyền Internet không, làm bằng chứng với nhà mạng.",
)
MOST = 5  # targets of a kind
COUNT, GAP = 10, 0.2  # pings, seconds between two
PING_WAIT, DNS_WAIT, TCP_WAIT, HTTP_WAIT, DOWNLOAD_WAIT = 1.0, 2.0, 3.0, 10.0, 30.0  # seconds
SPREAD = 60.0  # seconds, at most
BUDGET = 90.0  # seconds for all but the download
DAY = 86_400.0


def host_port(target: str, port: int) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address. Raises ValueError."""
    if target.count(":") > 1 and not target.startswith("["):
        return target, port
    parts = urlsplit(f"//{target}")
    if not parts.hostname or parts.path or parts.query or "@" in target:
        raise ValueError(f"{target[:60]!r} is no host")
    return parts.hostname, parts.port or port


def times(seconds: list[float], count: int) -> dict[str, float]:
    """Telegraf's fields of ``count`` pings of which these were answered."""
    fields = {
        "packets_transmitted": float(count),
        "packets_received": float(len(seconds)),
        "percent_packet_loss": round(100 * (count - len(seconds)) / count, 2),
        "result_code": 0.0,
    }
    if seconds:
        ms = [1000 * each for each in seconds]
        mean = sum(ms) / len(ms)
        fields["average_response_ms"] = round(mean, 3)
        fields["minimum_response_ms"], fields["maximum_response_ms"] = round(min(ms), 3), round(max(ms), 3)
        fields["standard_deviation_ms"] = round((sum((each - mean) ** 2 for each in ms) / len(ms)) ** 0.5, 3)
    return fields


def ping(target: str) -> Reading:
    """Ping one target; where the system does not let everybody ping, see how long a TCP connection takes instead."""
    try:
        host, port = host_port(target, 443)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError):
        return Reading("ping", {"url": target}, {"result_code": 1.0})
    try:
        sock = icmp.opened(family)
    except OSError:
        return connect(host, port, family, address)
    with sock:
        try:
            sock.connect((*address[:1], 0, *address[2:]))
        except OSError:  # no route
            return Reading("ping", {"url": target}, {**times([], COUNT), "result_code": 2.0})
        return Reading("ping", {"url": target}, times(icmp.ping(sock, family, COUNT, GAP, PING_WAIT), COUNT))


def connect(host: str, port: int, family: int, address: tuple[object, ...]) -> Reading:
    """How long a TCP connection takes. One that is refused at once has failed, as Telegraf has it."""
    fields = {"result_code": 2.0}
    with socket.socket(family) as sock:
        sock.settimeout(TCP_WAIT)
        start = time.monotonic()
        try:
            sock.connect(address)
            fields = {"result_code": 0.0, "response_time": round(time.monotonic() - start, 6)}
        except (TimeoutError, socket.timeout):
            fields = {"result_code": 1.0}
        except OSError:
            pass
    return Reading("net_response", {"server": host, "port": str(port), "protocol": "tcp"}, fields)


def resolve(server: str, domain: str) -> Reading:
    """Ask one name server for one domain."""
    try:
        seconds, code = dnsquery.ask(host_port(server, 53), domain, DNS_WAIT)
        fields = {"result_code": 0.0 if code == 0 else 2.0, "rcode_value": float(code)}
        fields["query_time_ms"] = round(1000 * seconds, 3)
    except (TimeoutError, socket.timeout):
        fields = {"result_code": 1.0}
    except (OSError, ValueError):
        fields = {"result_code": 2.0}
    return Reading("dns_query", {"server": server, "domain": domain, "record_type": "A"}, fields)


def page(url: str) -> Reading:
    """Ask for one page; redirects are not followed, its content is not looked at. Raises ValueError for no URL."""
    tags = {"server": plainhttp.shown(url), "method": "GET"}
    start = time.monotonic()
    try:
        answer = plainhttp.get(url, HTTP_WAIT, 65_536, keep=False)
        waited = time.monotonic() - start - (answer.seconds - answer.first)
        fields = {"result_code": 0.0, "http_response_code": float(answer.status), "response_time": round(waited, 6)}
    except socket.gaierror:
        fields = {"result_code": 5.0}
    except (TimeoutError, socket.timeout):
        fields = {"result_code": 4.0}
    except (OSError, plainhttp.BadAnswer):
        fields = {"result_code": 3.0}
    return Reading("http_response", tags, fields)


def speed(url: str, megabytes: float) -> Reading | None:
    """How fast at most so many megabytes come; None if fewer than one came: that says nothing of the line."""
    answer = plainhttp.get(url, DOWNLOAD_WAIT, int(megabytes * 1e6), keep=False)
    took = answer.seconds - answer.first
    if answer.status != 200 or answer.size < 1_000_000 or took <= 0:
        return None
    return Reading("internet_speed", {}, {"download": round(8e-6 * answer.size / took, 2)})


@dataclass
class Probe:
    """The line as seen by this machine. ``always``: measure without being named by the centre.

    ``ping``: hosts. ``dns``: name servers, those of the system if empty; ``domains``: what they are asked. ``http``:
    pages. ``download``: a large file's URL, of which ``download_mb`` are taken once a day in the hour
    ``download_hour``; none if empty. ``spread``: wait a random time up to so many seconds, so that a city does not ask
    at once.
    """

    every: float = 300.0
    always: bool = False
    spread: float = 20.0
    ping: tuple[str, ...] = ("1.1.1.1", "8.8.8.8", "vnexpress.net")  # two known everywhere, one within the country
    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ("moet.gov.vn",)
    http: tuple[str, ...] = ("https://www.gstatic.com/generate_204",)  # made to be asked by very many
    download: str = ""
    download_mb: float = 10.0
    download_hour: int = 12
    _minute: int = field(default_factory=lambda: random.randrange(55), init=False, repr=False, compare=False)
    _downloaded: float | None = field(default=None, init=False, repr=False)

    elected: ClassVar[bool] = True
    patience: ClassVar[float] = 240.0
    local: ClassVar[tuple[str, ...]] = ("ping", "dns", "domains", "http", "download", "download_mb")

    def read(self) -> Iterator[Reading]:
        """Yield one reading a target; what does not answer says so by its ``result_code``."""
        time.sleep(random.uniform(0, min(max(0.0, self.spread), SPREAD)))
        end = time.monotonic() + BUDGET
        servers = self.dns or tuple(dnsquery.system_servers())
        asked = [partial(ping, target) for target in _few(self.ping)]
        asked += [partial(resolve, server, domain) for server in _few(servers)[:3] for domain in _few(self.domains)[:2]]
        asked += [partial(page, url) for url in _few(self.http)]
        for question in asked:
            if time.monotonic() < end:
                yield question()
        if self.download and self._is_time():
            self._downloaded = time.monotonic()
            found = speed(self.download, min(self.download_mb, 200.0))
            if found:
                yield found

    def _is_time(self) -> bool:
        """Once a day, from a minute of the hour on that is this machine's own: not all of a city at once."""
        now = time.localtime()
        again = self._downloaded is None or time.monotonic() - self._downloaded > DAY / 2
        return again and now.tm_hour == self.download_hour and now.tm_min >= self._minute


def _few(targets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, targets)))[:MOST]
