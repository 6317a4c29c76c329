"""Ping without rights: ICMP echo on a datagram socket (icmp(7)), where ``net.ipv4.ping_group_range`` allows it."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from contextlib import suppress

ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # types of request and reply, RFC 792 and 4443


def opened(family: int) -> socket.socket:
    """A socket for echoes of this family. Raises PermissionError, or another OSError where there is none such."""
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    return socket.socket(family, socket.SOCK_DGRAM, protocol)


def checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071). Linux computes its own in its place, macOS does not."""
    padded = packet + b"\0" * (len(packet) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(family: int, seq: int, token: bytes) -> bytes:
    """One echo request."""
    kind = ECHO[socket.AddressFamily(family)][0]
    bare = struct.pack(">BBHHH", kind, 0, 0, 0, seq) + token
    return struct.pack(">BBHHH", kind, 0, checksum(bare), 0, seq) + token


def reply(family: int, packet: bytes, token: bytes) -> int | None:
    """Which request a packet replies to; None if it is no reply to one of ours. macOS puts the IP header before it."""
    if family == socket.AF_INET and packet and packet[0] >> 4 == 4:
        packet = packet[4 * (packet[0] & 15) :]
    if len(packet) < 8 or packet[0] != ECHO[socket.AddressFamily(family)][1] or packet[8:] != token:
        return None
    return int.from_bytes(packet[6:8], "big")


def ping(sock: socket.socket, family: int, count: int, gap: float, wait: float) -> list[float]:
    """Seconds that each reply took, of ``count`` requests ``gap`` seconds apart; the last is waited for ``wait``.

    The socket is connected to whom it asks. What the network says of errors counts as no reply.
    """
    token = secrets.token_bytes(16)
    sent: dict[int, float] = {}
    took: dict[int, float] = {}
    for seq in range(count):
        sent[seq] = time.monotonic()
        with suppress(OSError):  # no route just now
            sock.send(request(family, seq, token))
        end = sent[seq] + (gap if seq < count - 1 else wait)
        while (seq < count - 1 or len(took) < count) and time.monotonic() < end:
            sock.settimeout(max(0.001, end - time.monotonic()))
            try:
                which = reply(family, sock.recv(2048), token)
            except OSError:  # time is up, or a router says that nobody is there
                continue
            if which in sent and which not in took:
                took[which] = time.monotonic() - sent[which]
    return list(took.values())
