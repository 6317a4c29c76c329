"""As much of the Internet Printing Protocol as asking CUPS for its queues takes (RFC 8010 and 8011)."""

from __future__ import annotations

import struct
from typing import Union

GET_PRINTERS = 0x4002  # CUPS-Get-Printers
OPERATION, END, PRINTER = 0x01, 0x03, 0x04  # tags that begin a group of attributes
INTEGER, BOOLEAN, ENUM, KEYWORD, CHARSET, LANGUAGE = 0x21, 0x22, 0x23, 0x44, 0x47, 0x48
NO_QUEUES = 0x0406  # client-error-not-found: how CUPS says that it has none
Value = Union[int, bool]


class BadAnswer(Exception):
    """These bytes are no answer in IPP, or say that the question was refused."""


def request(operation: int, number: int, keywords: tuple[str, ...]) -> bytes:
    """A question for these attributes of every queue, and no others."""
    parts = [struct.pack(">BBHI", 2, 0, operation, number), bytes([OPERATION])]
    parts.append(attribute(CHARSET, "attributes-charset", b"utf-8"))
    parts.append(attribute(LANGUAGE, "attributes-natural-language", b"en"))
    for position, keyword in enumerate(keywords):
        parts.append(attribute(KEYWORD, "" if position else "requested-attributes", keyword.encode()))
    return b"".join((*parts, bytes([END])))


def attribute(tag: int, name: str, value: bytes) -> bytes:
    """One attribute; one more value of the last if it has no name."""
    return struct.pack(">BH", tag, len(name)) + name.encode() + struct.pack(">H", len(value)) + value


def printers(answer: bytes, number: int) -> list[dict[str, Value]]:
    """The whole numbers and truth values that the answer to question ``number`` says of each queue, in its order.

    Texts are stepped over, not read. Raises BadAnswer and nothing else.
    """
    try:
        _, _, status, echoed = struct.unpack_from(">BBHI", answer)
        if echoed != number:
            raise BadAnswer("it answers another question")
        if status == NO_QUEUES:
            return []
        if status >= 0x0100:
            raise BadAnswer(f"refused with status {status:#06x}")
        return _groups(answer)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise BadAnswer("it breaks off") from None


def _groups(answer: bytes) -> list[dict[str, Value]]:
    found: list[dict[str, Value]] = []
    at, group = 8, 0
    while answer[at] != END:
        tag = answer[at]
        at += 1
        if tag < 0x10:
            group = tag
            if group == PRINTER:
                found.append({})
            continue
        name, at = _counted(answer, at)
        value, at = _counted(answer, at)
        if group == PRINTER and name:
            number = _number(tag, value)
            if number is not None:
                found[-1][name.decode("ascii")] = number
    return found


def _counted(answer: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from(">H", answer, at)
    end = at + 2 + int(size)
    if end > len(answer):
        raise IndexError
    return answer[at + 2 : end], end


def _number(tag: int, value: bytes) -> Value | None:
    if tag == BOOLEAN and len(value) == 1:
        return value != b"\0"
    if tag in (INTEGER, ENUM) and len(value) == 4:
        return int.from_bytes(value, "big", signed=True)
    return None
