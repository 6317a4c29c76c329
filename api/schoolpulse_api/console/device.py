"""A device's page: its presence, its values now, and live charts."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request
from nicegui import run, ui

from schoolpulse_api.access import view_of
from schoolpulse_api.console import charts, equipment, frame
from schoolpulse_api.text import kind_text, language, number, span, text
from schoolpulse_api.view import Missing, View
from schoolpulse_collector.registry.model import Device
from schoolpulse_collector.store import StoreDown

REFRESH = 2.0  # seconds between two looks at the last values ...
REDRAW = 5.0  # ... and between two at the store
RANGES = {900: "minutes_15", 3600: "hour_1", 86400: "hours_24"}  # seconds
NOW = (  # text, group's beginning, field, unit
    ("cpu", "cpu,", "usage_active", "%"),
    ("memory", "mem", "used_percent", "%"),
    ("disk", "disk,", "used_percent", "%"),
    ("uptime", "system", "uptime", "s"),
)


def attach() -> None:
    """Define the page."""

    @ui.page("/device/{device_id}")
    def device_page(request: Request, device_id: str) -> None:
        lang = language(request)
        view = view_of(request)
        try:
            device = view.device(device_id)
        except Missing:
            frame.head(request, lang, device_id, back="/")
            ui.label(text("no_device", lang)).classes("card")
            return
        frame.head(request, lang, device.name, back="/")
        with ui.row().classes("card w-full items-center gap-x-6 gap-y-1"):
            state, seen = ui.label().classes("font-semibold"), ui.label().classes("dim number")
            ui.label(kind_text(device.kind, lang)).classes("dim")
            ui.label(device.id).classes("dim font-mono text-sm")
            if device.simulated:
                frame.simulated_badge(lang)
        with ui.row().classes("w-full gap-4"):
            values = [_value(text(key, lang)) for key, *_ in NOW]

        def refresh() -> None:
            known = view.presence(device)
            state.set_text(text(known.state, lang))
            state.classes(replace=f"font-semibold state-{known.state}")
            seen.set_text(f"{text('last_seen', lang)}: {frame.moment(known.seen, view.time_zone, lang)}")
            for label, (_, group, field, unit) in zip(values, NOW, strict=True):
                label.set_text(_shown(view, device, group, field, unit, lang))

        refresh()
        ui.timer(REFRESH, frame.while_signed_in(view, refresh))
        _charts(view, device, lang)
        equipment.show(view, device, lang)


def _value(name: str) -> ui.label:
    with ui.column().classes("card gap-0 grow"):
        ui.label(name).classes("dim text-sm")
        return ui.label().classes("text-xl number value")


def _shown(view: View, device: Device, group: str, field: str, unit: str, lang: str) -> str:
    """The highest of a field's last values: the fullest disk is the one that matters."""
    latest = view.latest(device)
    found = [fields[field] for key, (_, fields) in latest.items() if key.startswith(group) and field in fields]
    if not found:
        return text("no_data", lang)
    return span(max(found), lang) if unit == "s" else f"{number(max(found), lang, 1)} {unit}"


def _charts(view: View, device: Device, lang: str) -> None:
    length, zone = {"seconds": next(iter(RANGES))}, view.time_zone
    choice = ui.row()
    trouble = ui.label(text("store_down", lang)).classes("card state-offline w-full")
    trouble.set_visibility(False)
    with ui.element("div").classes("charts"):
        drawn = []
        for chart in charts.CHARTS:
            with ui.element("div").classes("card"):
                drawn.append((chart, ui.echart(charts.options(chart, lang)).classes("chart").style("height: 15rem")))

    async def redraw() -> None:
        stop, interval = int(time.time()) + 1, view.presence(device).interval
        try:
            for chart, shown in drawn:
                options: dict[str, Any] = shown.options
                options["series"] = await run.io_bound(
                    charts.read, view.query, chart, device.id, stop - length["seconds"], stop, interval, lang, zone
                )
                start = charts.local(stop - length["seconds"], zone)
                options["xAxis"].update(min=start, max=charts.local(stop, zone))
                shown.update()
        except StoreDown:
            trouble.set_visibility(True)
        else:
            trouble.set_visibility(False)

    async def choose(event: Any) -> None:
        length["seconds"] = event.value
        await redraw()

    names = {seconds: text(key, lang) for seconds, key in RANGES.items()}
    with choice:
        ui.toggle(names, value=length["seconds"], on_change=choose).props("no-caps").classes("range")
    ui.timer(REDRAW, frame.while_signed_in(view, redraw))  # the first at once
