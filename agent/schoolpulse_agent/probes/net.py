"""How much the network interfaces send and receive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("net", "bytes_sent"): Metric("B total", "Sent since boot", "Đã gửi từ khi bật máy", "73400320"),
    ("net", "bytes_recv"): Metric("B total", "Received since boot", "Đã nhận từ khi bật máy", "943718400"),
    ("net", "packets_sent"): Metric("1 total", "Packets sent since boot", "Số gói đã gửi từ khi bật máy", "512000"),
    ("net", "packets_recv"): Metric(
        "1 total", "Packets received since boot", "Số gói đã nhận từ khi bật máy", "801230"
    ),
    ("net", "err_in"): Metric("1 total", "Receive errors since boot", "Số lỗi nhận từ khi bật máy", "0"),
    ("net", "err_out"): Metric("1 total", "Send errors since boot", "Số lỗi gửi từ khi bật máy", "0"),
    ("net", "drop_in"): Metric(
        "1 total", "Incoming packets dropped since boot", "Số gói nhận bị bỏ từ khi bật máy", "12"
    ),
    ("net", "drop_out"): Metric(
        "1 total", "Outgoing packets dropped since boot", "Số gói gửi bị bỏ từ khi bật máy", "0"
    ),
    ("net", "up"): Metric("1", "Link is up (1) or down (0)", "Mạng đang nối (1) hay ngắt (0)", "1"),
    ("net", "speed"): Metric("Mbit/s", "Link speed", "Tốc độ kết nối mạng", "1000"),
}
TAGS = {("net", "interface"): Tag("Name of the network card", "Tên cổng mạng", "eth0")}
WHY = Why(
    "Shows broken cables, slow links and overloaded networks.", "Cho biết cáp hỏng, đường mạng chậm hoặc quá tải."
)
_FIELDS = {
    "bytes_sent": "bytes_sent",
    "bytes_recv": "bytes_recv",
    "packets_sent": "packets_sent",
    "packets_recv": "packets_recv",
    "errin": "err_in",
    "errout": "err_out",
    "dropin": "drop_in",
    "dropout": "drop_out",
}


@dataclass
class Probe:
    """Every interface that carries the machine's own traffic; ``skip``: beginnings of names that don't."""

    every: float = 0.0
    skip: tuple[str, ...] = (
        "lo",
        "Loopback",
        "veth",
        "docker",
        "br-",
        "virbr",
        "tunl",
        "sit",
        "ip6",
        "gre",
        "dummy",
        "ifb",
    )

    def read(self) -> Iterator[Reading]:
        """Yield one reading an interface, with tag ``interface``."""
        links = psutil.net_if_stats()
        for name, io in psutil.net_io_counters(pernic=True).items():
            if name.startswith(self.skip):
                continue
            counts = io._asdict()
            fields = {ours: float(counts[theirs]) for theirs, ours in _FIELDS.items()}
            link = links.get(name)
            if link:
                fields["up"] = float(link.isup)
                if 0 < link.speed < 65535:
                    fields["speed"] = float(link.speed)
            yield Reading("net", {"interface": name}, fields)
