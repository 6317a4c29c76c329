"""Signing in through an OpenID Connect provider: authorization code with PKCE, state and nonce.

What the provider says about a person is believed only after its ID token's signature, issuer, audience, age and nonce
were checked (OpenID Connect Core 1.0, 3.1.3.7). A claim of it says which grants the person has from there.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.orm import Session

from schoolpulse_api import browser, pages
from schoolpulse_api.entrance import Entrance, enter, too_many
from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.registry import SYSTEM, Registry, grants, people
from schoolpulse_collector.registry.grants import Wanted

log = logging.getLogger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]  # none shared
PENDING_SECONDS, PENDING_MOST = 600, 10_000
LEEWAY = 60  # seconds that the provider's clock may differ


BACK = "/sign-in/oidc/callback"


@dataclass(frozen=True)
class Provider:
    """Who vouches for people, and as whom this server asks. ``name``: on the button; ``claim``: with the grants."""

    issuer: str
    client_id: str
    client_secret: str
    name: str
    claim: str
    back: str = ""  # where it sends people back to; empty: by the name under which they came


class ProviderFailed(Exception):
    """The provider can't be reached, or what it says can't be believed. Never holds a token or a code."""


class Pending(NamedTuple):
    """A sign-in that was sent to the provider. ``until``: monotonic seconds."""

    state: str
    nonce: str
    verifier: str
    back: str
    onward: str
    until: float


def from_settings(settings: Settings) -> Provider | None:
    """The provider that the settings name, if any. Raises SettingsError."""
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id:
        raise SettingsError("oidc_issuer is set, but not oidc_client_id: write what the provider registered us as")
    if not _safe(settings.oidc_issuer) or len(settings.oidc_issuer) > 200:
        raise SettingsError(f"oidc_issuer {settings.oidc_issuer!r}: write an https:// address")
    secret = settings.oidc_client_secret()
    name = settings.oidc_name or urlsplit(settings.oidc_issuer).netloc
    back = f"{settings.url}{BACK}" if settings.public_name else ""
    return Provider(settings.oidc_issuer, settings.oidc_client_id, secret, name, settings.oidc_claim, back)


def router(registry: Registry, settings: Settings) -> APIRouter:
    """``/sign-in/oidc`` sends to the provider, ``/sign-in/oidc/callback`` is where it sends back. Raises SettingsError.

    Without a provider in the settings there are no such routes.
    """
    made = APIRouter(include_in_schema=False)
    if provider := from_settings(settings):
        _add(made, Entrance(registry, easy=False, time_zone=settings.time_zone), provider)
    return made


def _add(made: APIRouter, shared: Entrance, provider: Provider) -> None:
    pending = _PendingSignIns()

    @made.get("/sign-in/oidc")
    def begin(request: Request, next: str = "/") -> Response:
        if refused := too_many(shared, request, "address", browser.network(request)):
            return refused
        one = _pending(request, provider, browser.local_path(next))
        try:
            answer = RedirectResponse(_authorize_url(provider, one), 303)
        except ProviderFailed as why:
            return _failed(request, provider, why)
        browser.set_cookie(request, answer, "oidc", pending.keep(one), PENDING_SECONDS)
        return answer

    @made.get(BACK)
    def oidc_callback(request: Request) -> Response:
        one, said = pending.take(request.cookies.get(browser.cookie_name(request, "oidc"), "")), request.query_params
        if one is None or not hmac.compare_digest(one.state.encode(), said.get("state", "").encode()):
            answer: Response = pages.notice(request, 400, "oidc_again")
        elif "error" in said or "code" not in said:
            log.warning("sign-in: the provider answered %.60r", said.get("error", "without a code"))
            answer = pages.notice(request, 403, "oidc_refused", name=provider.name)
        else:
            try:
                answer = _come_in(shared, request, provider, identity(provider, one, said), one.onward)
            except ProviderFailed as why:
                answer = _failed(request, provider, why)
        browser.set_cookie(request, answer, "oidc", "", 0)
        return answer


def identity(provider: Provider, one: Pending, said: Mapping[str, str]) -> dict[str, Any]:
    """What the provider says about who signed in, after all checks. Raises ProviderFailed."""
    if said.get("iss", provider.issuer) != provider.issuer:  # RFC 9207
        raise ProviderFailed("the answer names another issuer")
    found = _discover(provider)
    body = {"grant_type": "authorization_code", "code": said["code"], "redirect_uri": one.back}
    body |= {"client_id": provider.client_id, "code_verifier": one.verifier}
    basic = (provider.client_id, provider.client_secret)
    if "client_secret_post" in found.get("token_endpoint_auth_methods_supported", []):
        body |= {"client_secret": provider.client_secret} if provider.client_secret else {}
        basic = ("", "")
    tokens = _ask("POST", _endpoint(found, "token_endpoint"), data=body, auth=basic if basic[1] else None)
    keys = _ask("GET", _endpoint(found, "jwks_uri"))
    try:
        token = jwt.decode(str(tokens.get("id_token", "")), KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        options = {"iss": {"essential": True, "value": provider.issuer}}
        options |= {"aud": {"essential": True, "value": provider.client_id}, "exp": {"essential": True}}
        checks = {"nonce": one.nonce, "client_id": provider.client_id, "access_token": tokens.get("access_token")}
        claims = CodeIDToken(token.claims, token.header, options, checks)
        claims.validate(leeway=LEEWAY)
    except (JoseError, ValueError, KeyError, TypeError) as why:
        raise ProviderFailed(f"its ID token is not good: {type(why).__name__} {getattr(why, 'claim', '')}") from None
    if not 0 < len(claims["sub"]) <= 200 or not claims["sub"].isprintable():
        raise ProviderFailed("its name for the person (sub) is empty, longer than 200 characters or not printable")
    return dict(claims)


def wanted(session: Session, claim: object) -> list[Wanted]:
    """The grants that a claim names: a list of ``role``, ``role@unit:key``, ``role@school:key``; others are logged."""
    found = []
    for text in [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []:
        role, at, where = str(text).partition("@")
        kind, _, key = where.partition(":")
        one = Wanted(role, key if kind == "unit" else None, key if kind == "school" else None)
        readable = str(text).isprintable() and (not at or kind in ("unit", "school"))
        why = grants.problem(session, one) if readable else "it names no unit or school"
        if why:
            log.warning("sign-in: the provider grants %.100r, which is left out: %s", text, why[:200])
        else:
            found.append(one)
    return found


class _PendingSignIns:
    """Sign-ins under way, each taken once; kept here, so that a browser holds nothing but a random name."""

    def __init__(self) -> None:
        self._lock, self._known = threading.Lock(), dict[str, Pending]()

    def keep(self, one: Pending) -> str:
        name = secrets.token_urlsafe(32)
        with self._lock:
            while self._known and (len(self._known) >= PENDING_MOST or self._oldest().until < time.monotonic()):
                self._known.pop(next(iter(self._known)))
            self._known[name] = one
        return name

    def take(self, name: str) -> Pending | None:
        with self._lock:
            one = self._known.pop(name, None)
        return one if one and one.until > time.monotonic() else None

    def _oldest(self) -> Pending:
        return next(iter(self._known.values()))


def _pending(request: Request, provider: Provider, onward: str) -> Pending:
    back = provider.back or str(request.url_for("oidc_callback"))
    state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
    return Pending(state, nonce, verifier, back, onward, time.monotonic() + PENDING_SECONDS)


def _authorize_url(provider: Provider, one: Pending) -> str:
    asked = {"response_type": "code", "client_id": provider.client_id, "redirect_uri": one.back, "state": one.state}
    asked |= {"scope": "openid profile email", "nonce": one.nonce, "code_challenge_method": "S256"}
    asked |= {"code_challenge": create_s256_code_challenge(one.verifier)}
    url = _endpoint(_discover(provider), "authorization_endpoint")
    return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"


def _discover(provider: Provider) -> dict[str, Any]:
    found = _ask("GET", provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
    if found.get("issuer") != provider.issuer:
        raise ProviderFailed(f"it calls itself {found.get('issuer')!r}: write that as oidc_issuer")
    return found


def _endpoint(found: dict[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str) or not _safe(url):
        raise ProviderFailed(f"its {name} is no https:// address")
    return url


def _ask(method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        answer = httpx.request(method, url, timeout=10, headers={"Accept": "application/json"}, **more)
        document = answer.json() if answer.is_success else None
    except (httpx.HTTPError, ValueError) as why:
        raise ProviderFailed(f"{url}: {type(why).__name__}") from None
    if not isinstance(document, dict):
        raise ProviderFailed(f"{url} answered {answer.status_code}" + (", no JSON object" if answer.is_success else ""))
    return document


def _come_in(shared: Entrance, request: Request, provider: Provider, said: dict[str, Any], onward: str) -> Response:
    wish = str(said.get("preferred_username") or said.get("email") or "")
    with shared.registry.change(SYSTEM) as change:
        person = people.of_provider(change, provider.issuer, said["sub"], wish, str(said.get("name") or wish))
        if person.active:
            grants.replace_oidc(change, person, wanted(change.session, said.get(provider.claim)))
    if not person.active:
        return pages.notice(request, 403, "oidc_inactive")
    return enter(shared, request, person, "provider", onward)


def _failed(request: Request, provider: Provider, why: ProviderFailed) -> Response:
    log.error("sign-in through %s failed: %s", provider.issuer, why)
    return pages.notice(request, 502, "oidc_failed", name=provider.name)


def _safe(url: str) -> bool:
    """Whether what goes there is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
