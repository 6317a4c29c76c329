"""On a device's page: its agent, its operating system and until when that is supported, what it is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nicegui import ui

from schoolpulse_agent.parts import Parts
from schoolpulse_agent.wire import BadReport, split_group
from schoolpulse_api.console import frame
from schoolpulse_api.text import TEXTS, number, text
from schoolpulse_api.view import View
from schoolpulse_collector import support
from schoolpulse_collector.registry.model import Device, InventoryChange

CHANGES = 5  # the newest are shown
BINARY, DECIMAL = 2**30, 10**9  # a gigabyte as memory is sold, and as disks are
STYLES = """
.made-of { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; width: 100%; }
@media (max-width: 30rem) { .made-of { grid-template-columns: 1fr; } .made-of > :nth-child(odd) { margin-top: .3rem; } }
.ended { color: var(--bad); font-weight: 600; }
"""


def show(view: View, device: Device, lang: str) -> None:
    """The card."""
    found, running = view.inventory(device), view.running(device)
    if found is None and not running.agent:
        return
    ui.add_css(STYLES)
    parts: Parts = json.loads(found.parts) if found else {}
    with ui.column().classes("card w-full gap-2"):
        ui.label(text("made_of", lang)).classes("font-semibold").props('role="heading" aria-level="2"')
        with ui.element("div").classes("made-of"):
            for label, value, kind in rows(parts, lang):
                _row(label, value, kind)
            if running.agent:
                _row(text("agent", lang), running.agent)
            if (state := view.wanted(device)[1]) != "none":
                why = f": {running.refused.partition(' ')[2]}" if state == "refused" else ""
                _row(text("configuration", lang), text(f"config_{state}", lang) + why, "ended" if why else "")
        for change in view.inventory_changes(device, 0, CHANGES):
            ui.label(f"{frame.moment(change.t, view.time_zone, lang)} · {change_text(change, lang)}").classes(
                "dim text-sm number"
            )


def rows(parts: Parts, lang: str) -> Iterator[tuple[str, str, str]]:
    """Label, value and style of each line; a part that says nothing has none."""
    named = {
        "system": ("machine", ("manufacturer", "product")),
        "cpu": ("processor", ("model",)),
        "gpu": ("graphics", ("vendor", "model", "id")),
    }
    for name, (label, fields) in named.items():
        for part in _of(parts, name):
            yield from _line(text(label, lang), _joined(part, *fields))
        if name == "system":
            yield from _line(text("serial", lang), _joined(parts.get("system", {}), "serial"))
        if name == "cpu":
            yield from _line(text("memory", lang), _memory(parts, lang))
            for part in _of(parts, "disk"):
                yield from _line(text("disk_drive", lang), _disk(part, lang))
    yield from _line(text("system", lang), _joined(parts.get("os", {}), "name", "release"))
    found = support.of(parts.get("os", {}))
    if found:
        key = "support_ended" if found.ended else "supported_until"
        yield (
            text("support", lang),
            text(key, lang).format(day=f"{found.ends:%d/%m/%Y}"),
            "ended" if found.ended else "",
        )


def change_text(change: InventoryChange, lang: str) -> str:
    """``Thêm ổ đĩa: KINGSTON SA400S37240G · 240 GB``."""
    before, after = json.loads(change.before), json.loads(change.after)
    if change.what in ("added", "removed"):
        shown = _part(change.part, after if change.what == "added" else before, lang)
        return f"{text(f'part_{change.what}', lang)}: {shown}"
    values = f"{_value(before, lang)} → {_value(after, lang)}"
    if change.what == "machine":
        return f"{text('other_machine', lang)}: {values}"
    return f"{_name(change.part, lang)} · {change.field}: {values}"


def _row(label: str, value: str, kind: str = "") -> None:
    ui.label(label).classes("dim")
    ui.label(value).classes(kind)


def _line(label: str, value: str) -> Iterator[tuple[str, str, str]]:
    if value:
        yield label, value, ""


def _of(parts: Parts, name: str) -> list[dict[str, Any]]:
    return [fields for key, fields in parts.items() if key.partition(",")[0] == name]


def _joined(fields: dict[str, Any], *names: str) -> str:
    return " ".join(str(fields[name]) for name in names if fields.get(name))


def _memory(parts: Parts, lang: str) -> str:
    total = parts.get("memory", {}).get("total")
    modules = [part for part in _of(parts, "memory") if "size" in part]
    each = " + ".join(
        " ".join(filter(None, (_size(part["size"], BINARY, lang), _joined(part, "type")))) for part in modules
    )
    shown = _size(total, BINARY, lang)
    return f"{shown} ({each})" if shown and each else shown or each


def _disk(fields: dict[str, Any], lang: str) -> str:
    kind = {0: "SSD", 1: "HDD"}.get(fields.get("rotational"), "")  # type: ignore[arg-type]
    return " · ".join(filter(None, (_joined(fields, "model"), _size(fields.get("size"), DECIMAL, lang), kind)))


def _size(value: object, unit: int, lang: str) -> str:
    if not isinstance(value, (int, float)) or value <= 0:
        return ""
    amount = value / unit
    return f"{number(amount, lang, 0 if amount >= 100 or amount == int(amount) else 1)} GB"


def _part(key: str, fields: dict[str, Any] | None, lang: str) -> str:
    fields = fields or {}
    if key.startswith("disk"):
        shown = _disk(fields, lang)
    elif key.startswith("memory"):
        shown = " ".join(
            filter(None, (_size(fields.get("size"), BINARY, lang), _joined(fields, "type", "manufacturer")))
        )
    else:
        shown = _joined(fields, "vendor", "model", "kind", "driver")
    return " ".join(filter(None, (_name(key, lang), shown)))


def _name(key: str, lang: str) -> str:
    """``RAM DIMM1``: the part in words, and which of them."""
    try:
        name, tags = split_group(key)
    except BadReport:
        return key
    label = text(f"part_{name}", lang) if f"part_{name}" in TEXTS else name
    return " ".join([label, *(value for _, value in tags)])


def _value(value: object, lang: str) -> str:
    if isinstance(value, (int, float)) and value >= BINARY:
        return _size(value, BINARY, lang)
    return "–" if value is None else str(value)
