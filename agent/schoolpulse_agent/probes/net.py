"""How much the network interfaces send and receive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schoolpulse_agent import proc
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
# psutil's name of each field, and its column in /proc/net/dev: receive bytes packets errs drop ..., transmit bytes ...
_FIELDS = {
    "bytes_recv": ("bytes_recv", 0),
    "packets_recv": ("packets_recv", 1),
    "err_in": ("errin", 2),
    "drop_in": ("dropin", 3),
    "bytes_sent": ("bytes_sent", 8),
    "packets_sent": ("packets_sent", 9),
    "err_out": ("errout", 10),
    "drop_out": ("dropout", 11),
}
NO_SPEED = 65_535  # and less than 0, or far more: the link does not know
MAX_SPEED = 1_000_000  # Mbit/s
Cards = dict[str, dict[str, float]]


def parse_dev(text: bytes, skip: tuple[str, ...]) -> Cards:
    """Counters by interface, of Linux's /proc/net/dev (proc(5))."""
    found: Cards = {}
    for line in text.splitlines()[2:]:
        before, mark, rest = line.rpartition(b":")  # an alias has one in its name, too
        name, values = before.strip().decode("ascii", "replace"), rest.split()
        if mark and len(values) >= 12 and b"".join(values[:12]).isdigit() and not name.startswith(skip):
            found[name] = {field: float(values[column]) for field, (_, column) in _FIELDS.items()}
    return found


def _of_linux(skip: tuple[str, ...]) -> Cards:
    found = parse_dev(proc.read("/proc/net/dev"), skip)
    for name, fields in found.items():
        folder = f"/sys/class/net/{name}"
        fields["up"] = float(proc.once(f"{folder}/carrier") == b"1")
        speed = proc.once(f"{folder}/speed") if fields["up"] else b""  # without a link the kernel does not say
        if speed.isdigit():
            fields["speed"] = float(speed)
    return found


def _of_psutil(skip: tuple[str, ...]) -> Cards:
    import psutil

    links, found = psutil.net_if_stats(), {}
    for name, io in psutil.net_io_counters(pernic=True).items():
        if name.startswith(skip):
            continue
        found[name] = {field: float(getattr(io, theirs)) for field, (theirs, _) in _FIELDS.items()}
        if name in links:
            found[name].update(up=float(links[name].isup), speed=float(links[name].speed))
    return found


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
        for name, fields in (_of_linux if proc.LINUX else _of_psutil)(self.skip).items():
            if not 0 < fields.get("speed", 0.0) < MAX_SPEED or fields["speed"] == NO_SPEED:
                fields.pop("speed", None)
            yield Reading("net", {"interface": name}, fields)
