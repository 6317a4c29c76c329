"""Nobody gets past without a token: one guard in front of every route, page and web socket."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from schoolpulse_api.text import LANGUAGES, language, text
from schoolpulse_collector.registry import Registry

COOKIE = "sp_session"
SESSION_SECONDS = 12 * 3600
OPEN = ("/healthz", "/sign-in")  # all that may be seen without a token


class Guard:
    """Lets through who shows ``Authorization: Bearer`` with an API token, or a session's cookie."""

    def __init__(self, app: ASGIApp, registry: Registry) -> None:
        self._app, self._registry = app, registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refusal(Request(scope))(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            return self._registry.token_is_good(token.strip(), "api")
        cookie = HTTPConnection(scope).cookies.get(COOKIE)
        return cookie is not None and self._registry.token_is_good(cookie, "session")


def sign_in_route(registry: Registry) -> APIRouter:
    """``GET /sign-in?token=``: a one-time link becomes a session."""
    router = APIRouter()

    @router.get("/sign-in", include_in_schema=False)
    def sign_in(request: Request, token: str = "") -> Response:
        if not registry.spend_token(token, "sign_in"):
            return _page(request, 403, "link_spent")
        session = registry.issue_token("session", "browser", SESSION_SECONDS)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, session, SESSION_SECONDS, httponly=True, samesite="lax", secure=secure)
        return answer

    return router


def _refusal(request: Request) -> Response:
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        return _page(request, 401, "sign_in_first")
    detail = "show a token: Authorization: Bearer <token>; scripts find one in the file 'token' of the home folder"
    return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})


def _page(request: Request, status: int, key: str) -> Response:
    style = "font:18px/1.6 system-ui;max-width:36rem;margin:15vh auto;padding:0 1rem"
    first = language(request)
    both = "".join(
        f'<p lang="{lang}">{text(key, lang)}</p>' for lang in sorted(LANGUAGES, key=lambda lang: lang != first)
    )
    body = f"<h1>{text('product', first)}</h1>{both}<pre>make link\nschoolpulse link --home FOLDER</pre>"
    head = f'<!doctype html><html lang="{first}"><meta charset="utf-8"><title>SchoolPulse</title>'
    return HTMLResponse(f'{head}<body style="{style}">{body}', status)
