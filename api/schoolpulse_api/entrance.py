"""What every way in leads to: a browser's session, at the stage that says what is still wanted of its person."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from schoolpulse_api import browser, pages
from schoolpulse_api.tries import Tries
from schoolpulse_collector.registry import Registry, grants, people
from schoolpulse_collector.registry.model import Grant, Login, Person

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entrance:
    """What the routes of signing in share. ``easy``: nobody is made to set up anything, as in the demo."""

    registry: Registry
    easy: bool
    time_zone: str
    tries: Tries = field(default_factory=Tries)


def missing(person: Person, granted: list[Grant]) -> list[str]:
    """What a person must set up before anything else: ``password``, ``totp``. Whom a provider vouches for: nothing."""
    if not person.password_hash:
        return [] if person.issuer else ["password"]
    administrator = any(each.role == "administrator" for each in granted)
    return ["totp"] if administrator and not person.totp_secret else []


def current(entrance: Entrance, request: Request) -> tuple[Login, Person] | None:
    """This browser's session and whose it is, if there is one."""
    text = browser.cookie_of(request)
    if not text:
        return None
    with entrance.registry.read() as session:
        return people.login_of(session, text)


def enter(entrance: Entrance, request: Request, person: Person, by: str, onward: str) -> Response:
    """Open a session; one that this browser had ends.

    ``by``: what was just shown: password, link, code, provider, or setup, when all that was wanted is set up.
    """
    with entrance.registry.change(f"person:{person.login}") as change:
        row = change.session.get(Person, person.id)
        if row is None or not row.active or row.password_hash != person.password_hash:  # changed since it was shown
            return RedirectResponse("/sign-in", 303)
        if old := people.login_of(change.session, browser.cookie_of(request)):
            people.close_login(change, old[0])
        stage = _stage(entrance, row, by, grants.of_person(change.session, person.id))
        text = people.open_login(change, person, stage, request.headers.get("user-agent", ""))
        change.note("person.sign_in", f"person:{person.login}", by=by, stage=stage)
    answer = RedirectResponse(place(stage, onward), 303)
    browser.keep_session(request, answer, text)
    return answer


def place(stage: str, onward: str) -> str:
    """Where a session of a stage goes on."""
    places = {"full": onward, "setup": "/account", "code": f"/sign-in/code?next={quote(onward)}"}
    return places[stage]


def too_many(entrance: Entrance, request: Request, kind: str, who: str) -> Response | None:
    """Count a try; the answer to give if there were too many."""
    seconds = entrance.tries.wait(kind, who)
    if not seconds:
        return None
    log.warning("sign-in: too many tries by %s, now from %s", kind, browser.network(request))
    answer = pages.notice(request, 429, "too_many_tries", minutes=math.ceil(seconds / 60))
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _stage(entrance: Entrance, person: Person, by: str, granted: list[Grant]) -> str:
    if by == "provider":  # who vouches for somebody asks for the second factor too
        return "full"
    if by in ("password", "link") and person.totp_secret:
        return "code"
    return "setup" if missing(person, granted) and not entrance.easy else "full"
