"""What all pages share: the head with the way back and the language, the styles, how presence looks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Request
from nicegui import ui

from schoolpulse_api.text import LANGUAGES, text
from schoolpulse_api.view import Missing, SignedOut, View

STYLES = """
:root { --ok: #15803d; --off: #64748b; --bad: #b91c1c; --dim: #64748b; --card: #ffffff; --line: #e2e8f0; }
body { background: #f1f5f9; } .body--dark { background: #0f172a; --card: #1e293b; --line: #334155; --dim: #94a3b8;
  --ok: #22c55e; --off: #94a3b8; --bad: #f87171; }
.nicegui-content { max-width: 1280px; margin: 0 auto; width: 100%; padding: 1rem; gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
.dim { color: var(--dim); } .number { font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .5rem; width: 100%; }
.tile { background: var(--card); border: 1px solid var(--line); border-left: .35rem solid var(--off); border-radius: .5rem;
  padding: .4rem .6rem; color: inherit; text-decoration: none; display: block; line-height: 1.35; white-space: nowrap; overflow: hidden; }
.tile:hover, .tile:focus-visible { outline: 2px solid #2563eb; }
.tile.online { border-left-color: var(--ok); } .tile.offline { border-left-color: var(--bad); }
.state-online { color: var(--ok); } .state-offline { color: var(--bad); } .state-off, .state-unknown { color: var(--off); }
.badge { border: 1px dashed var(--dim); border-radius: .4rem; padding: 0 .4rem; font-size: .8rem; color: var(--dim); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 1rem; width: 100%; }
"""


def head(request: Request, lang: str, title: str, back: str | None = None) -> None:
    """The page's head."""
    ui.page_title(f"{title} · {text('product', lang)}")
    ui.add_css(STYLES)
    other = LANGUAGES[1 - LANGUAGES.index(lang)]
    here = quote(request.url.path)
    with ui.row().classes("w-full items-center justify-between"):
        with ui.row().classes("items-center"):
            if back:
                ui.link("←", back).classes("text-2xl no-underline").props('aria-label="back"')
            with ui.column().classes("gap-0"):
                ui.label(text("product", lang)).classes("dim text-sm")
                ui.label(title).classes("text-2xl font-semibold").props('role="heading" aria-level="1"')
        with ui.row().classes("items-center gap-4"):
            ui.link(text("account", lang), "/account").classes("account")
            ui.link(text("other_language", lang), f"/language/{other}?back={here}").classes("language")


def while_signed_in(view: View, work: Callable[[], Any]) -> Callable[[], Any]:
    """For timers: does the work only as long as the session lasts, then goes to the sign-in page."""

    async def working() -> None:
        try:
            found = work()
            if inspect.isawaitable(found):
                await found
            view.caller  # noqa: B018 - what is known already is no more to be shown either
        except SignedOut:
            ui.navigate.to("/sign-in")
        except Missing:  # a right ended, or the device is elsewhere now
            ui.navigate.to("/")

    return working


def simulated_badge(lang: str) -> None:
    """Marks what is made up."""
    ui.label(text("simulated", lang)).classes("badge").tooltip(text("simulated_hint", lang))


def moment(milliseconds: int, zone: str, lang: str) -> str:
    """``23/11/2026 19:05:31`` in the users' zone."""
    if not milliseconds:
        return text("never", lang)
    return datetime.fromtimestamp(milliseconds / 1000, ZoneInfo(zone)).strftime("%d/%m/%Y %H:%M:%S")
