"""Nobody gets past without saying who they are; and what they may is decided in one place.

`Guard` stands in front of every route, page and web socket. It knows a caller by a bearer token or a session's cookie
and puts a `View` into the request: the only way from a route or a page to data, limited to the caller's schools.
Each route names the role it needs: ``view: Annotated[View, needs("technician")]``; the application does not start with
one that names none.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schoolpulse_api import signin
from schoolpulse_api.bounded import bounded
from schoolpulse_api.centre import Centre
from schoolpulse_api.refusals import down
from schoolpulse_api.view import View
from schoolpulse_collector.registry import Registry, RegistryDown, credential, grants, people, rights, tokens
from schoolpulse_collector.registry.model import ApiToken
from schoolpulse_collector.registry.rights import Rights

OPEN = (  # all that answers somebody unknown
    "/healthz",
    "/ca.pem",
    "/install.sh",
    "/install.ps1",
    "/installers/{name}",
    "/packages/{name}",
    "/sign-in",
    "/sign-in/oidc",
    "/sign-in/oidc/callback",
    "/api/v1/enrol",
    "/api/v1/rekey",
    "/api/v1/renew",
)
_OPEN = re.compile("|".join(re.escape(path).replace(r"\{name\}", "[^/]+") for path in OPEN)).fullmatch
UNFINISHED = {  # what is left to somebody whose sign-in lacks something
    "code": ("/sign-in/code", "/sign-out"),
    "setup": ("/account", "/sign-out"),
}
CROSS_SITE = 403
FRESH = 1.0  # seconds a caller's rights are taken as known: a right withdrawn ends within that
REMEMBERED = 10_000  # callers
HEADERS = {  # inline scripts and styles are NiceGUI's way
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # a one-time link must not travel on
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Caller:
    """Somebody known. ``name``: as in the audit; ``token``: what a program showed, None for a person."""

    name: str
    stage: str
    rights: Rights
    token: ApiToken | None = field(default=None, compare=False)


class Access:
    """Who is behind a cookie or token, and what they may, as of at most a second ago. Thread-safe."""

    def __init__(self, registry: Registry, zone: str) -> None:
        self._registry, self._zone = registry, ZoneInfo(zone)
        self._known: dict[tuple[str, str], tuple[float, Caller | None]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def caller(self, kind: str, secret: str) -> Caller | None:
        """The caller who shows this secret; ``kind``: token or session. None: nobody, or nobody any more."""
        key, now = (kind, credential.digest(secret)), time.monotonic()  # what a stranger shows may be long
        until, found = self._known.get(key, (0.0, None))
        if now < until:
            return found
        changes = self._changes
        found = self._look(kind, secret)
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            if changes == self._changes:  # else it may be from before the change
                self._known[key] = (now + FRESH, found)
        return found

    def forget(self) -> None:
        """Look anew: somebody's rights have just changed."""
        with self._lock:
            self._changes += 1
            self._known.clear()

    def _look(self, kind: str, secret: str) -> Caller | None:
        day = datetime.now(UTC).astimezone(self._zone).date().isoformat()
        with self._registry.read() as session:
            if kind == "token":
                token = tokens.find(session, secret)
                if token is None:
                    return None
                granted = rights.of(session, grants.of_token(session, token.id), day)
            else:
                known = people.login_of(session, secret)
                if known is None:
                    return None
                login, person = known
                granted = rights.of(session, grants.of_person(session, person.id), day)
                return Caller(f"person:{person.login}", login.stage, granted)
        return Caller(f"token:{token.label}", "full", granted, token)


class Guard:
    """Lets through who is known, with a `View` of what they may see."""

    def __init__(self, app: ASGIApp, centre: Centre, access: Access) -> None:
        self._app, self._centre, self._access = app, centre, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        send = _with_headers(send, secure=scope.get("scheme") in ("https", "wss"))
        receive = bounded(scope, receive)
        try:
            urlsplit(str(HTTPConnection(scope).url))
        except ValueError:  # as many would find out later
            await JSONResponse({"detail": "the header Host names no host"}, 400)(scope, receive, send)
            return None
        try:
            if _shown(HTTPConnection(scope)):
                refusal = await run_in_threadpool(self._admit, scope)  # the database may be slow
            else:
                refusal = self._admit(scope)
        except RegistryDown as why:
            refusal = down(why)
        if refusal is None or (refusal.status_code != CROSS_SITE and _is_open(scope["path"])):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)
        return None

    def _admit(self, scope: Scope) -> Response | None:
        """Put the caller's view into the request; or say why not."""
        headers = Headers(scope=scope)
        shown = _shown(HTTPConnection(scope))
        if (shown and shown[0] == "session") or scope["path"].startswith("/sign-in"):
            unsafe = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
            if unsafe and not signin.same_site(headers, headers.get("host", "")):
                return JSONResponse({"detail": "this request comes from another site"}, CROSS_SITE)
        caller = self._access.caller(*shown) if shown else None
        if shown is None or caller is None:
            return _who_are_you(scope, headers)
        if caller.token:  # here, where no change is under way that this one would wait for
            tokens.touch(self._centre.registry, caller.token)
        left = UNFINISHED.get(caller.stage)
        if left and scope["path"] not in left:
            if scope["type"] == "http" and "text/html" in headers.get("accept", ""):
                return RedirectResponse(left[0], 303)
            return JSONResponse({"detail": f"the sign-in is not finished: {left[0]}"}, 401)
        scope.setdefault("state", {})["view"] = View(self._centre, self._access, shown)
        return None


def view_of(request: Request) -> View:
    """The view that the guard put into a request."""
    found: View = request.scope["state"]["view"]
    return found


@dataclass(frozen=True)
class Needs:
    """A route's dependency: the caller's view, if they have this role somewhere; ``centre``: everywhere."""

    role: str
    centre: bool = False

    def __call__(self, request: Request) -> View:
        """Called by FastAPI for each request. Raises 403."""
        view = view_of(request)
        if not (view.rights.may(self.role) if self.centre else view.rights.anywhere(self.role)):
            raise HTTPException(
                403, f"this needs the role {self.role}" + (" in the whole centre" if self.centre else "")
            )
        return view


def needs(role: str, *, centre: bool = False) -> Any:
    """What a route names beside its `View`; ``centre``: the role everywhere."""
    return Depends(Needs(role, centre))


def _is_open(path: str) -> bool:
    return _OPEN(path) is not None or path.startswith("/language/")


def _shown(connection: HTTPConnection) -> tuple[str, str] | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:  # who shows a token is not taken for the browser's user beside it
        return ("token", token.strip()) if scheme.lower() == "bearer" else None
    cookie = signin.cookie_of(connection)
    return ("session", cookie) if cookie else None


def _who_are_you(scope: Scope, headers: Headers) -> Response:
    path = scope["path"]
    if scope["type"] == "http" and "text/html" in headers.get("accept", "") and not path.startswith("/api/"):
        return RedirectResponse(f"/sign-in?next={quote(path)}", 303)
    detail = "show a token: Authorization: Bearer <token>; scripts find one in the file 'token' of the home folder"
    return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})


def _with_headers(send: Send, *, secure: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if secure:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            if "cache-control" not in headers:
                headers["cache-control"] = "no-store"  # what one person sees is not for the next at this machine
        await send(message)

    return sending
