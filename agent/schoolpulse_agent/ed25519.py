"""Verifies Ed25519 signatures in whole numbers alone (RFC 8032, 5.1.7). It signs nothing: no secret ever comes here.

About 10 ms a signature; not in constant time, which is no loss, for all that it sees is public.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # order of the base point
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1

Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)
ZERO: Point = (0, 1, 1, 0)


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of this public key (32 bytes) signed this message. Any other form of a number is refused."""
    if len(key) != 32 or len(signature) != 64:
        return False
    owner, first = _point(key), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if owner is None or first is None or s >= L:  # s + L would be a second signature of the same message
        return False
    if _same(_times(8, owner), ZERO):  # a key of small order, as 32 zeros, would sign anything
        return False
    hashed = hashlib.sha512(signature[:32] + key + message).digest()
    k = int.from_bytes(hashed, "little") % L
    return _same(_times(s, BASE), _sum(first, _times(k, owner)))


def _point(said: bytes) -> Point | None:
    """A point of the curve from its 32 bytes (5.1.3), None if there is none or it could be written otherwise."""
    y = int.from_bytes(said, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _sum(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(number: int, p: Point) -> Point:
    found = ZERO
    while number:
        if number & 1:
            found = _sum(found, p)
        p, number = _sum(p, p), number >> 1
    return found


def _same(p: Point, q: Point) -> bool:
    return not ((p[0] * q[2] - q[0] * p[2]) % P or (p[1] * q[2] - q[1] * p[2]) % P)


_BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
assert _BASE
BASE: Point = _BASE
