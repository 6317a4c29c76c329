"""What the board says of itself: the raw structure table of SMBIOS (DMTF DSP0134), walked and read.

Numbers of structures, offsets and codes are that specification's. No parser here raises for any bytes: what is cut off
or wrong is empty or left out.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_TEXT = 64
# What makers leave in when they forget to fill it out.
PLACEHOLDER = re.compile(
    r"to be filled.*|default string|system (serial number|manufacturer|product name|version)|not (applicable|available|"
    r"specified|present)|none|n/a|unknown|invalid|o\.?e\.?m\.?|empty|serial number|chassis serial number|[0x.\- ]*|"
    r"0?123456789.*|f{4,}|undefined|no dimm|(manufacturer|sernum|partnum|assettag)_?\d+",
    re.IGNORECASE,
).fullmatch
# 7.18.2, Memory Device: Type.
_MEMORY_TYPES = {
    **{0x0F: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2", 0x18: "DDR3", 0x1A: "DDR4", 0x22: "DDR5"},
    **{0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4", 0x23: "LPDDR5"},
}


class Structure(NamedTuple):
    """One structure: its type, its formatted area with the header, its strings."""

    kind: int
    body: bytes
    strings: list[bytes]

    def text(self, offset: int) -> str:
        """The string whose number stands at an offset, cleaned; empty if there is none."""
        number = self.body[offset] if offset < len(self.body) else 0  # counted from 1; 0: there is none
        return clean(self.strings[number - 1].decode("utf-8", "replace")) if 0 < number <= len(self.strings) else ""

    def whole(self, offset: int, size: int) -> int | None:
        """The little-endian number at an offset; None if the structure is too short to have it."""
        raw = self.body[offset : offset + size]
        return int.from_bytes(raw, "little") if len(raw) == size else None


class Module(NamedTuple):
    """One memory module that is plugged in; texts are empty and numbers 0 where the board does not say."""

    slot: str  # as printed on the board: DIMM_A1
    bank: str
    size: int  # bytes
    type: str  # DDR4
    speed: int  # MT/s that it can do
    manufacturer: str


class Bios(NamedTuple):
    """The firmware (structure of type 0)."""

    version: str = ""
    date: str = ""  # as its maker wrote it, mostly mm/dd/yyyy


def structures(table: bytes) -> Iterator[Structure]:
    """Walk a table up to its end mark or to where it is cut off."""
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        end = table.find(b"\0\0", at + length)
        if length < 4 or kind == 127:
            return
        texts = table[at + length : end if end >= 0 else len(table)]
        yield Structure(kind, table[at : at + length], texts.split(b"\0"))
        if end < 0:
            return
        at = end + 2


def bios(table: bytes) -> Bios:
    """Version and date of the firmware."""
    for each in structures(table):
        if each.kind == 0:
            return Bios(each.text(5), each.text(8))
    return Bios()


def memory(table: bytes) -> list[Module]:
    """The memory modules that are plugged in (structures of type 17), in the table's order."""
    found = []
    for each in structures(table):
        size = _size(each) if each.kind == 17 else 0
        if size:
            kind = each.whole(0x12, 1)
            speed = each.whole(0x15, 2) or 0
            if speed == 0xFFFF:  # does not fit: in the extended field
                speed = (each.whole(0x54, 4) or 0) & 0x7FFFFFFF
            names = (each.text(0x10), each.text(0x11))
            found.append(Module(*names, size, _MEMORY_TYPES.get(kind or 0, ""), speed, each.text(0x17)))
    return found


def _size(module: Structure) -> int:
    """Bytes of a memory device: 0 for an empty slot and for a size that the board does not know (7.18.5)."""
    said = module.whole(0x0C, 2) or 0
    if said == 0xFFFF:
        return 0
    if said == 0x7FFF:
        return ((module.whole(0x1C, 4) or 0) & 0x7FFFFFFF) * 2**20
    return (said & 0x7FFF) * (2**10 if said & 0x8000 else 2**20)


def clean(said: str, limit: int = MAX_TEXT) -> str:
    """A text as it may leave the machine: printable, bounded, empty if the maker only forgot to fill it out."""
    shown = "".join(letter for letter in said if letter.isprintable()).strip()[:limit].strip()
    return "" if PLACEHOLDER(shown) else shown


def read() -> bytes:
    """The raw table of this machine, empty where the system does not show it (on Linux to others than root)."""
    try:
        return _of_windows() if sys.platform == "win32" else Path("/sys/firmware/dmi/tables/DMI").read_bytes()
    except OSError:
        return b""


def _of_windows() -> bytes:
    """GetSystemFirmwareTable, open to every user: 8 bytes (method, version, length), then the table."""
    if sys.platform != "win32":
        return b""
    import ctypes

    provider, ask = 0x52534D42, ctypes.windll.kernel32.GetSystemFirmwareTable  # "RSMB"
    buffer = ctypes.create_string_buffer(max(8, ask(provider, 0, None, 0)))
    size = ask(provider, 0, buffer, len(buffer))
    raw = buffer.raw[:size]
    return raw[8 : 8 + struct.unpack_from("<I", raw, 4)[0]] if len(raw) >= 8 else b""
