"""The contract of inventories: what a machine is made of and runs, as parts with texts and numbers.

A part's key is written as a group's (``memory,slot=DIMM1``). The hash follows from the parts, so that both sides know
whether they mean the same. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any, NamedTuple

from schoolpulse_agent.wire import MAX_TEXT, MAX_VALUES, TOP, VERSION, BadReport, dump, is_name, load, split_group

Parts = dict[str, dict[str, Any]]  # "memory,slot=DIMM1": {"size": 8589934592}


class Inventory(NamedTuple):
    """What a machine is made of and runs."""

    hash: str  # 16 lower hex digits
    parts: Parts


def inventory_of(parts: Parts) -> Inventory:
    """The inventory of these parts. Raises BadReport for one that the other side would refuse."""
    _check(parts)
    plain = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Inventory(hashlib.sha256(plain.encode()).hexdigest()[:16], parts)


def encode_inventory(inventory: Inventory) -> bytes:
    """The payload of ``sp/v1/up/<school>/<device>/inventory``."""
    return zlib.compress(dump({"v": VERSION, "hash": inventory.hash, "parts": inventory.parts}), 6)


def decode_inventory(body: bytes) -> Inventory:
    """Read an inventory; raise BadReport."""
    message = load(body)
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise BadReport("version")
    found = inventory_of(message.get("parts"))  # type: ignore[arg-type]
    if found.hash != message.get("hash"):
        raise BadReport("shape", "hash")
    return found


def _check(parts: Any) -> None:
    if type(parts) is not dict or sum(len(each) if type(each) is dict else 1 for each in parts.values()) > MAX_VALUES:
        raise BadReport("shape", "parts")
    for key, fields in parts.items():
        split_group(key)
        if type(fields) is not dict or not fields:
            raise BadReport("empty", f"{key[:80]!r}")
        for name, value in fields.items():
            if not is_name(name):
                raise BadReport("name", f"field {name[:80]!r}")
            if not _is_plain(value):
                raise BadReport("value", f"{key[:80]!r} {name}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return value.isprintable() and len(value) <= MAX_TEXT
    return type(value) in (int, float) and -TOP <= value <= TOP
