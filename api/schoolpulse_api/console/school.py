"""The first page: each school's rooms, and in them each device as a tile with its presence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fastapi import Request
from nicegui import ui
from nicegui.element import Element

from schoolpulse_api.access import view_of
from schoolpulse_api.console import frame
from schoolpulse_api.text import language, number, text
from schoolpulse_api.view import View
from schoolpulse_collector.presence import STATES
from schoolpulse_collector.registry.model import Device, School

REFRESH = 2.0  # seconds


@dataclass
class Tile:
    """What changes in one device's tile."""

    device: Device
    box: Element
    state: ui.label
    values: ui.label


def attach() -> None:
    """Define the page."""

    @ui.page("/")
    def school_page(request: Request) -> None:
        lang = language(request)
        view = view_of(request)
        schools = view.schools()
        frame.head(request, lang, schools[0].name if len(schools) == 1 else text("product", lang))
        if not schools:
            ui.label(text("no_schools", lang)).classes("card")
        for school in schools:
            _school(view, school, lang, named=len(schools) > 1)


def _school(view: View, school: School, lang: str, *, named: bool) -> None:
    if named:
        ui.label(school.name).classes("text-xl")
    summary = ui.row().classes("card w-full gap-6 summary")
    devices = view.devices(school.key, limit=100_000)
    tiles: list[Tile] = []
    rooms = [(room, [d for d in devices if d.room == room.key]) for room in view.rooms(school.key)]
    for room, inside in sorted(
        rooms, key=lambda pair: any(device.simulated for device in pair[1])
    ):  # the real ones first
        with ui.row().classes("items-center gap-2"):
            ui.label(room.name).classes("text-lg font-medium")
            if inside and all(device.simulated for device in inside):
                frame.simulated_badge(lang)
        with ui.element("div").classes("tiles"):
            tiles += [_tile(device, lang) for device in sorted(inside, key=lambda device: device.name)]

    def refresh() -> None:
        for tile in tiles:
            _update(view, tile, lang)
        _summarize(summary, Counter(view.presence(tile.device).state for tile in tiles), lang)

    refresh()
    ui.timer(REFRESH, frame.while_signed_in(view, refresh))


def _tile(device: Device, lang: str) -> Tile:
    with ui.link(target=f"/device/{device.id}").classes("tile") as box:
        ui.label(device.name).classes("font-medium truncate")
        state = ui.label().classes("text-sm")
        values = ui.label().classes("dim text-sm number")
    return Tile(device, box, state, values)


def _update(view: View, tile: Tile, lang: str) -> None:
    state = view.presence(tile.device).state
    tile.box.classes(add=state, remove=" ".join(set(STATES) - {state}))
    tile.state.classes(add=f"state-{state}", remove=" ".join(f"state-{other}" for other in STATES if other != state))
    tile.state.set_text(text(state, lang))
    latest = view.latest(tile.device)
    cpu = latest.get("cpu,cpu=cpu-total", (0, {}))[1].get("usage_active")
    mem = latest.get("mem", (0, {}))[1].get("used_percent")
    parts = [
        f"CPU {number(cpu, lang)} %" if cpu is not None else "",
        f"RAM {number(mem, lang)} %" if mem is not None else "",
    ]
    tile.values.set_text(" · ".join(part for part in parts if part) if state == "online" else " ")


def _summarize(summary: ui.row, count: Counter[str], lang: str) -> None:
    summary.clear()
    with summary:
        ui.label(f"{number(count.total(), lang)} {text('devices', lang)}").classes("font-semibold")
        for state in STATES:
            if count[state]:
                ui.label(f"{number(count[state], lang)} {text(state, lang)}").classes(f"state-{state} number")
