"""One's own account: name, password, second factor, sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from schoolpulse_api import browser, pages
from schoolpulse_api.entrance import Entrance, current, enter, missing, place, too_many
from schoolpulse_collector.registry import Refused, grants, passwords, people, totp
from schoolpulse_collector.registry.model import Login, Person


def add(made: APIRouter, shared: Entrance) -> None:
    """``/account``. A session at the stage ``setup`` sees and does here only what is still wanted of it."""

    @made.get("/account")
    def show(request: Request, saved: bool = False) -> Response:
        found = _allowed(shared, request)
        if not found:
            return _elsewhere(shared, request)
        if found[0].stage == "setup" and not _wanted(shared, found[1]):  # no administrator any more
            return enter(shared, request, found[1], "setup", "/")
        return _page(shared, request, *found, said="saved" if saved else "")

    @made.post("/account")
    def act(request: Request, form: Annotated[dict[str, str], Depends(browser.form)]) -> Response:
        found = _allowed(shared, request)
        if not found:
            return _elsewhere(shared, request)
        login, person = found
        what = form.get("do", "")
        if what not in ACTIONS or (login.stage == "setup" and what not in _wanted(shared, person)):
            return _page(shared, request, login, person, 422)
        answer = ACTIONS[what](shared, request, login, person, form)
        if isinstance(answer, Response):
            return answer
        if answer:
            return _page(shared, request, login, person, 422, answer, form.get("secret", ""))
        return _next(shared, request)


def _allowed(shared: Entrance, request: Request) -> tuple[Login, Person] | None:
    found = current(shared, request)
    return found if found and found[0].stage != "code" else None


def _elsewhere(shared: Entrance, request: Request) -> Response:
    found = current(shared, request)
    return RedirectResponse(place(found[0].stage, "/account") if found else "/sign-in?next=/account", 303)


def _wanted(shared: Entrance, person: Person) -> list[str]:
    with shared.registry.read() as session:
        return missing(person, grants.of_person(session, person.id))


def _next(shared: Entrance, request: Request) -> Response:
    """After something was saved: on, once nothing more is wanted."""
    found = current(shared, request)
    if not found or found[0].stage != "setup" or _wanted(shared, found[1]):
        return RedirectResponse("/account?saved=1", 303)
    return enter(shared, request, found[1], "setup", "/")


def _page(
    shared: Entrance,
    request: Request,
    login: Login,
    person: Person,
    status: int = 200,
    said: str = "",
    secret: str = "",
) -> Response:
    if not totp.SECRET.fullmatch(secret):
        secret = totp.new_secret()
    if login.stage == "setup" and (wanted := _wanted(shared, person)):
        only = {
            "password": pages.password_section(request, person),
            "totp": pages.totp_section(request, person, secret),
        }
        bad = said if said not in ("", "saved") else f"want_{wanted[0]}"
        return pages.account(request, person, [only[wanted[0]]], status, bad)
    with shared.registry.read() as session:
        logins = people.logins_of(session, person)
    sections = [pages.name_section(request, person)]
    if person.password_hash or not person.issuer:
        sections += [pages.password_section(request, person), pages.totp_section(request, person, secret)]
    sections.append(pages.logins_section(request, logins, login, shared.time_zone))
    return pages.account(request, person, sections, status, said)


# What may be done: each answers with the key of what went wrong, empty for nothing, or a page of its own.

Form = dict[str, str]


def _rename(shared: Entrance, _: Request, _login: Login, person: Person, form: Form) -> str:
    try:
        with shared.registry.change(f"person:{person.login}") as change:
            people.rename(change, person, form.get("name", ""))
    except Refused:
        return "name_empty"
    return ""


def _new_password(shared: Entrance, request: Request, login: Login, person: Person, form: Form) -> Response | str:
    new = form.get("new", "")
    if person.issuer and not person.password_hash:  # a way in that would outlive the provider's word
        return "wrong_old_password"
    if person.password_hash:
        if refused := too_many(shared, request, "login", person.login):
            return refused
        if not passwords.matches(form.get("old", ""), person.password_hash):
            return "wrong_old_password"
        shared.tries.forget("login", person.login)
    if new != form.get("again", ""):
        return "password_differs"
    if why := passwords.problem(person.login, new):
        return f"password_{why}"
    hashed = passwords.hash_password(new)
    with shared.registry.change(f"person:{person.login}") as change:
        people.set_password(change, person, hashed)
        people.close_logins(change, person, but=login)
    return ""


def _totp(shared: Entrance, request: Request, login: Login, person: Person, form: Form) -> Response | str:
    secret = form.get("secret", "")
    if refused := too_many(shared, request, "code", str(person.id)):
        return refused
    if not totp.SECRET.fullmatch(secret) or not person.password_hash:
        return "wrong_code"
    try:
        with shared.registry.change(f"person:{person.login}") as change:
            if not people.confirm_totp(change, person, secret, form.get("code", "")):
                return "wrong_code"
            people.close_logins(change, person, but=login)
    except Refused:  # another page was faster: this one shows it
        return ""
    shared.tries.forget("code", str(person.id))
    return ""


def _end(shared: Entrance, _: Request, _login: Login, person: Person, form: Form) -> str:
    with shared.registry.change(f"person:{person.login}") as change:
        for each in people.logins_of(change.session, person):
            if each.hash == form.get("session"):
                people.close_login(change, each)
                change.note("person.end_session", f"person:{person.login}", agent=each.agent)
    return ""


Action = Callable[[Entrance, Request, Login, Person, Form], Response | str]
ACTIONS: dict[str, Action] = {"name": _rename, "password": _new_password, "totp": _totp, "end": _end}
