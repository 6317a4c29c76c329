"""Until when an operating system gets security updates, by `support.toml`; what does not stand there is unknown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

# Home, Pro and their like end together; Enterprise and Education often later. Editions with terms of their own (LTSC,
# LTSB, IoT, S, Embedded, evaluation copies ...) are none of these.
_OTHER = re.compile(
    r"\b(LTS[BC]|IoT|Embedded|POSReady|Evaluation|Team|Virtual|Storage|Hyper-V|MultiPoint|Azure|SE|S)\b"
).search
_LONG = re.compile(r"\b(Enterprise|Education)\b").search
_SHORT = re.compile(r"\b(Home|Pro|Professional|Ultimate|Starter|Single Language)\b|^Windows 8(\.1)?$").search


class Support(NamedTuple):
    """``ends``: the last day with updates that cost nothing more; ``ended``: whether that is past; and who says so."""

    ends: date
    ended: bool
    source: str


def of(system: Mapping[str, Any], today: date | None = None) -> Support | None:
    """The end of support of an inventory's part ``os`` (id, version, release, name); None: unknown."""
    said = {name: str(system.get(name, "")) for name in ("id", "version", "release", "name")}
    edition = _edition(said["name"]) if said["id"] == "windows" else ""
    release = said["release"] if edition in ("pro", "enterprise") else ""
    found = _table().get((said["id"], said["version"], release, edition))
    if found is None:
        return None
    ends, source = found
    return Support(ends, (today or datetime.now(UTC).date()) > ends, source)


def _edition(name: str) -> str:
    """``server``, ``pro`` (Home and Pro), ``enterprise`` (and Education); empty: one with terms of its own."""
    if not name.isascii() or _OTHER(name):
        return ""
    if "Server" in name:
        return "server"
    if _SHORT(name):  # "Pro Education" is one of them
        return "pro"
    return "enterprise" if _LONG(name) else ""


@cache
def _table() -> dict[tuple[str, str, str, str], tuple[date, str]]:
    document = tomllib.loads(resources.files(__package__).joinpath("support.toml").read_text(encoding="utf-8"))
    found = {}
    for each in document["system"]:
        for edition in each.get("editions", [""]):
            for release in each.get("releases", [""]):
                found[each["id"], each["version"], release, edition] = (each["ends"], each["source"])
    return found
