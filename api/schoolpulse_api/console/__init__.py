"""The console: pages in pure Python on the same application, without outside assets."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from nicegui import ui

from schoolpulse_api import text
from schoolpulse_api.console import device, school


def attach(app: FastAPI) -> None:
    """Add the pages and the language switch to an application."""

    @app.get("/language/{code}", include_in_schema=False)
    def choose_language(code: str, request: Request) -> RedirectResponse:
        back = request.query_params.get("back", "/")
        local = back.startswith("/") and not back.startswith(("//", "/\\"))  # never a way to another site
        answer = RedirectResponse(back if local else "/", 303)
        if code in text.LANGUAGES:
            answer.set_cookie(text.COOKIE, code, 365 * 86400, samesite="lax")
        return answer

    school.attach()
    device.attach()
    ui.run_with(app, title="Nhịp trường · SchoolPulse", dark=None, show_welcome_message=False)
