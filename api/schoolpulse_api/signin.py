"""Signing in: a password, a code if the person has an authenticator app, or a one-time link; and signing out."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from schoolpulse_api import account, browser, oidc, pages
from schoolpulse_api.browser import cookie_of, local_path, same_site
from schoolpulse_api.entrance import Entrance, current, enter, place, too_many
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import SYSTEM, Registry, people

__all__ = ["cookie_of", "router", "same_site"]

log = logging.getLogger(__name__)

COMMANDS = "make link\nschoolpulse link --home FOLDER"
Form = Annotated[dict[str, str], Depends(browser.form)]


def router(registry: Registry, settings: Settings, *, easy: bool = False) -> APIRouter:
    """The routes of coming in and of one's own account. They check by themselves who asks and from whose page.

    ``easy``: nobody is made to set a password or a second factor. Raises SettingsError.
    """
    shared = Entrance(registry, easy, settings.time_zone)
    provider = oidc.from_settings(settings)
    made = APIRouter(include_in_schema=False, dependencies=[Depends(browser.require_own_page)])
    _add_password(made, shared, provider.name if provider else "")
    _add_code(made, shared)
    account.add(made, shared)

    @made.post("/sign-out")
    def sign_out(request: Request) -> Response:
        if found := current(shared, request):
            login, person = found
            with registry.change(f"person:{person.login}") as change:
                people.close_login(change, login)
                change.note("person.sign_out", f"person:{person.login}")
        answer = RedirectResponse("/sign-in", 303)
        browser.set_cookie(request, answer, "session", "", 0)
        return answer

    return made


def _add_password(made: APIRouter, shared: Entrance, provider: str) -> None:
    @made.get("/sign-in")
    def ask(request: Request, token: str = "", next: str = "/") -> Response:
        if token:
            return _by_link(shared, request, token, local_path(next))
        if found := current(shared, request):
            return RedirectResponse(place(found[0].stage, local_path(next)), 303)
        return pages.sign_in(request, local_path(next), provider)

    @made.post("/sign-in")
    def check(request: Request, form: Form) -> Response:
        login, onward = form.get("login", "").strip().lower()[:64], local_path(form.get("next", "/"))
        for kind, who in (("address", browser.network(request)), ("login", login)):
            if refused := too_many(shared, request, kind, who):
                return refused
        with shared.registry.read() as session:
            person = people.check_password(session, login, form.get("password", ""))
            known = person or people.by_login(session, login)
        if person is None:  # people type passwords into the wrong field: only a known login may be logged
            who = f"person:{known.login}" if known else "an unknown login"
            log.warning("sign-in: wrong password for %s from %s", who, browser.network(request))
            return pages.sign_in(request, onward, provider, login, "wrong_password")
        shared.tries.forget("login", login)
        return enter(shared, request, person, "password", onward)


def _by_link(shared: Entrance, request: Request, token: str, onward: str) -> Response:
    if refused := too_many(shared, request, "address", browser.network(request)):
        return refused
    person = None
    with shared.registry.read() as session:
        good = people.link_is_good(session, token)
    if good:
        with shared.registry.change(SYSTEM) as change:
            person = people.spend_link(change, token)
    if person is None:
        return pages.notice(request, 403, "link_spent", COMMANDS)
    return enter(shared, request, person, "link", onward)


def _add_code(made: APIRouter, shared: Entrance) -> None:
    @made.get("/sign-in/code")
    def ask_code(request: Request, next: str = "/") -> Response:
        found = current(shared, request)
        if found and found[0].stage == "code":
            return pages.code(request, local_path(next))
        return RedirectResponse(place(found[0].stage, local_path(next)) if found else "/sign-in", 303)

    @made.post("/sign-in/code")
    def check_code(request: Request, form: Form) -> Response:
        onward, found = local_path(form.get("next", "/")), current(shared, request)
        if not found or found[0].stage != "code":
            return RedirectResponse("/sign-in", 303)
        person = found[1]
        if refused := too_many(shared, request, "code", str(person.id)):
            return refused
        with shared.registry.change(f"person:{person.login}") as change:
            good = people.check_totp(change, person, form.get("code", ""))
        if not good:
            log.warning("sign-in: wrong code for person:%s from %s", person.login, browser.network(request))
            return pages.code(request, onward, "wrong_code")
        shared.tries.forget("code", str(person.id))
        return enter(shared, request, person, "code", onward)  # a new session: the old one's text was less worth
