"""Rows for people who sit at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need, under a head; control characters of a value are shown as ``?``."""
    lines = [[_plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(shown)


def when(milliseconds: int | None, zone: str) -> str:
    """``24/11/2026 08:05`` in the users' zone; ``-`` for never."""
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, ZoneInfo(zone)).strftime("%d/%m/%Y %H:%M")


def _plain(cell: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in cell)
