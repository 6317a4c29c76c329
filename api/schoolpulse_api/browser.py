"""What this side and a browser agree on: the session's cookie, whose page asks, where one may be sent on to."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from schoolpulse_collector.registry import people

FORM_BYTES = 16_384


def cookie_of(connection: HTTPConnection) -> str:
    """The session's text that a browser shows; empty: none."""
    return connection.cookies.get(cookie_name(connection, "session"), "")


def keep_session(request: Request, response: Response, text: str) -> None:
    """Give the browser its session."""
    set_cookie(request, response, "session", text, people.LOGIN_HOURS * 3600)


def cookie_name(connection: HTTPConnection, purpose: str) -> str:
    """Over https a name that browsers keep from other hosts and from plain http; there it can't be had."""
    if connection.url.scheme in ("https", "wss"):
        return "__Host-sp" if purpose == "session" else f"__Host-sp-{purpose}"
    return f"sp_{purpose}"


def set_cookie(request: Request, response: Response, purpose: str, text: str, seconds: int) -> None:
    """A cookie that no script reads; 0 seconds: gone."""
    secure = request.url.scheme == "https"
    name = cookie_name(request, purpose)
    response.set_cookie(name, text, seconds, path="/", secure=secure, httponly=True, samesite="lax")


def same_site(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from a page of our own, or from none: what changes anything needs that.

    ``headers``: names in lower case. Browsers say so in Sec-Fetch-Site over https and on this machine itself,
    else in Origin.
    """
    said = headers.get("sec-fetch-site")
    if said is not None:
        return said in ("same-origin", "none")
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    return origin.scheme in ("http", "https") and origin.netloc.lower() == host.lower() != ""


def require_own_page(request: Request) -> None:
    """For routes with forms. Raises HTTPException 403."""
    if request.method not in ("GET", "HEAD") and not same_site(request.headers, request.headers.get("host", "")):
        raise HTTPException(403, "this form was not sent from a page of this server: open the page and try again")


def local_path(text: str) -> str:
    """A place on this server to go on to; anything else becomes the first page."""
    plain = text.isprintable() and "\\" not in text and not text.startswith("//")
    return text if plain and text.startswith("/") and not urlsplit(text).netloc else "/"


def network(request: Request) -> str:
    """Who asks, as tries are counted: an address, or with IPv6 the network that one customer has."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


async def form(request: Request) -> dict[str, str]:
    """The fields of a posted form, each once. Raises HTTPException 413, 422."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise HTTPException(413, "this form is too large")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=30, errors="strict"))
    except ValueError:
        raise HTTPException(422, "this is no form") from None
