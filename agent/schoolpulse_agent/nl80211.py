"""Asks Linux how strong the signal of each Wi-Fi interface is, over a generic netlink socket (nl80211).

Network names and addresses stand in the same answers; nothing here reads those attributes.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Callable

GENERIC = 16  # NETLINK_GENERIC, and by chance the number of its own family, nlctrl
ERROR, DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
REQUEST, DUMP = 0x1, 0x300  # NLM_F_REQUEST, NLM_F_DUMP
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2  # CTRL_CMD_, CTRL_ATTR_ (linux/genetlink.h)
# NL80211_CMD_, NL80211_ATTR_ twice, NL80211_STA_INFO_ (linux/nl80211.h)
GET_STATION, IFINDEX, STA_INFO, SIGNAL = 17, 3, 21, 7
SECONDS, MOST = 1.0, 1000  # the kernel answers at once; a hotspot has tens of stations

Ask = Callable[[int, int, bytes, bool], "list[bytes]"]  # family, command, attributes, whether all -> their attributes


def message(family: int, command: int, attributes: bytes, everything: bool) -> bytes:
    """A request: struct nlmsghdr, struct genlmsghdr, attributes."""
    flags = REQUEST | (DUMP if everything else 0)
    return struct.pack("=IHHIIBBH", 20 + len(attributes), family, flags, 1, 0, command, 1, 0) + attributes


def attribute(kind: int, value: bytes) -> bytes:
    """A struct nlattr and its value, filled up to a multiple of four."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Values by kind; what is cut short is left out."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4 or at + size > len(data):
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
        at += (size + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each message of one datagram; what is cut short is left out."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        if size < 16 or at + size > len(data):
            return
        yield kind, data[at + 16 : at + size]
        at += (size + 3) & ~3


def ask(family: int, command: int, wanted: bytes, everything: bool) -> list[bytes]:
    """The attributes of each answer of this machine's kernel. Raises OSError, also for the kernel's own errors."""
    found: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, GENERIC) as link:
        link.settimeout(SECONDS)
        link.sendto(message(family, command, wanted, everything), (0, 0))
        while len(found) < MOST:
            for kind, body in messages(link.recv(65_536)):
                if kind in (ERROR, DONE):
                    code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
                    if code:
                        raise OSError(-code, "generic netlink answers with an error")
                    return found
                found.append(body[4:])
            if not everything:
                return found
    return found


def family(name: str, ask: Ask = ask) -> int | None:
    """The number of a family of messages; None where the kernel has no such thing (no Wi-Fi driver is loaded)."""
    try:
        answers = ask(GENERIC, GET_FAMILY, attribute(FAMILY_NAME, name.encode() + b"\0"), False)
    except FileNotFoundError:
        return None
    number = attributes(answers[0]).get(FAMILY_ID, b"") if answers else b""
    return int(struct.unpack("=H", number)[0]) if len(number) == 2 else None


def signal(number: int, interface: int, ask: Ask = ask) -> float | None:
    """Signal in dBm of the access point that an interface is connected to; None without one, or if it is one itself.

    ``number``: the family's; ``interface``: the interface's index. Needs no rights. Raises OSError.
    """
    answers = ask(number, GET_STATION, attribute(IFINDEX, struct.pack("=I", interface)), True)
    if len(answers) != 1:  # a hotspot has a station for each of its guests
        return None
    said = attributes(attributes(answers[0]).get(STA_INFO, b"")).get(SIGNAL, b"")
    return float(struct.unpack("=b", said)[0]) if len(said) == 1 else None
