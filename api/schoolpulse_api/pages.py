"""The plain pages on the way in: HTML and CSS alone, no script, nothing from elsewhere. Every value is escaped here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote
from zoneinfo import ZoneInfo

import segno
from fastapi import Request
from fastapi.responses import HTMLResponse

from schoolpulse_api.text import LANGUAGES, language, text
from schoolpulse_collector.registry import totp
from schoolpulse_collector.registry.model import Login, Person

TEMPLATE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
NARROW, WIDE = "26rem", "40rem"


def page(request: Request, title: str, body: str, status: int = 200, width: str = NARROW) -> HTMLResponse:
    """A whole page. ``title``: key of a text; ``body``: HTML. It runs no script, and no cache or frame keeps it."""
    lang = language(request)
    other = LANGUAGES[1 - LANGUAGES.index(lang)]
    values = {
        "lang": lang,
        "other": other,
        "width": width,
        "title": text(title, lang),
        "product": text("product", lang),
    }
    values |= {"switch": f"/language/{other}?back={quote(request.url.path)}", "language": text("other_language", lang)}
    html = Template(TEMPLATE).substitute({name: escape(value) for name, value in values.items()}, body=body)
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(html, status, {**headers, "Referrer-Policy": "same-origin"})  # no-referrer would hide Origin


def notice(request: Request, status: int, key: str, command: str = "", **values: object) -> HTMLResponse:
    """A page that only says something, in both languages; ``command``: what to type on the server."""
    first = language(request)
    said = [
        f'<p lang="{lang}">{escape(text(key, lang).format(**values))}</p>'
        for lang in sorted(LANGUAGES, key=lambda lang: lang != first)
    ]
    shown = f"<pre>{escape(command)}</pre>" if command else ""
    back = f'<p><a href="/sign-in">{escape(text("sign_in", first))}</a></p>'
    return page(request, "sign_in", f"<section>{''.join(said)}{shown}</section>{back}", status)


def sign_in(request: Request, onward: str, provider: str, login: str = "", wrong: str = "") -> HTMLResponse:
    """The form for login and password, and the provider's button if there is one."""
    say = _say(request)
    name = {"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false", "maxlength": "64"}
    name |= {"value": login, "autofocus": ""} if not login else {"value": login}
    password = {"autocomplete": "current-password"} | ({"autofocus": ""} if login else {})
    fields = _hidden("next", onward) + _field("login", say("login"), **name)
    fields += _field("password", say("password"), "password", **password)
    body = _message(request, wrong) + _form("/sign-in", fields, say("sign_in"))
    if provider:
        button = escape(say("sign_in_with").format(name=provider))
        body += f'<p class="or dim">{escape(say("or"))}</p>'
        body += f'<a class="button" href="/sign-in/oidc?next={quote(onward)}">{button}</a>'
    hint = f'<p class="dim">{escape(say("sign_in_hint"))}</p>'
    return page(request, "sign_in", f"<section>{body}</section>{hint}", 401 if wrong else 200)


def code(request: Request, onward: str, wrong: str = "") -> HTMLResponse:
    """The form for the second factor's code."""
    say = _say(request)
    fields = _hidden("next", onward) + _code_field(say("code"), autofocus="")
    body = f"{_message(request, wrong)}<p>{escape(say('code_hint'))}</p>{_form('/sign-in/code', fields, say('go_on'))}"
    return page(request, "code", f"<section>{body}</section>{_sign_out(say('other_account'))}", 401 if wrong else 200)


def account(
    request: Request, person: Person, sections: Sequence[str], status: int = 200, said: str = ""
) -> HTMLResponse:
    """A person's own page of these sections. ``said``: key of a text: what went wrong, or ``saved``."""
    say = _say(request)
    who = f'<p class="dim">{escape(person.name)} · {escape(person.login)}</p>'
    body = who + _message(request, said) + "".join(f"<section>{each}</section>" for each in sections)
    return page(request, "account", body + _sign_out(say("sign_out")), status, WIDE)


def name_section(request: Request, person: Person) -> str:
    """The form for one's own name."""
    say = _say(request)
    field = _field("name", say("own_name"), value=person.name, autocomplete="name", maxlength="200")
    return _form("/account", _hidden("do", "name") + field, say("save"))


def password_section(request: Request, person: Person) -> str:
    """The form for a new password; with the old one, if there is one."""
    say = _say(request)
    fields = _hidden("do", "password")  # and the login, which password managers look for
    fields += f'<input type="text" name="login" value="{escape(person.login)}" autocomplete="username" hidden>'
    if person.password_hash:
        fields += _field("old", say("old_password"), "password", autocomplete="current-password")
    new = {"autocomplete": "new-password", "minlength": "10"}
    fields += _field("new", say("new_password"), "password", **new) + _field("again", say("again"), "password", **new)
    hint = f'<p class="dim">{escape(say("password_hint"))}</p>'
    return _titled(say("password"), hint + _form("/account", fields, say("save")))


def totp_section(request: Request, person: Person, secret: str) -> str:
    """What to do with an authenticator app; or that it is done."""
    say = _say(request)
    if person.totp_secret:
        return _titled(say("second_factor"), f'<p class="good">{escape(say("totp_is_on"))}</p>')
    qr = segno.make(totp.uri(secret, person.login), error="m")
    drawn = f'<div class="qr" role="img" aria-label="{escape(say("qr"))}">{qr.svg_inline(scale=5, light="#fff")}</div>'
    spelled = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    by_hand = f'<p class="dim">{escape(say("totp_by_hand"))}<br><code>{escape(spelled)}</code></p>'
    fields = _hidden("do", "totp") + _hidden("secret", secret) + _code_field(say("code"))
    steps = f"<p>{escape(say('totp_hint'))}</p>{drawn}{by_hand}"
    return _titled(say("second_factor"), steps + _form("/account", fields, say("turn_on")))


def logins_section(request: Request, logins: Sequence[Login], own: Login, zone: str) -> str:
    """The person's open sessions, each with a button that ends it."""
    say, rows = _say(request), []
    for each in logins:
        since = datetime.fromtimestamp(each.created / 1000, ZoneInfo(zone)).strftime("%d/%m/%Y %H:%M")
        this = each.hash == own.hash
        fields = _hidden("do", "end") + _hidden("session", each.hash)
        right = (
            f'<span class="dim">{escape(say("this_one"))}</span>'
            if this
            else _form("/account", fields, say("end"), True)
        )
        browser = escape(each.agent or say("unknown_browser"))
        rows.append(f'<li><div>{browser}<br><span class="dim">{escape(say("since"))} {since}</span></div>{right}</li>')
    return _titled(say("sessions"), f"<ul>{''.join(rows)}</ul>")


def _say(request: Request) -> Callable[[str], str]:
    return partial(text, lang=language(request))


def _titled(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _message(request: Request, key: str) -> str:
    kind, role = ("good", "status") if key == "saved" or key.startswith("want_") else ("bad", "alert")
    return f'<p class="{kind}" role="{role}">{escape(text(key, language(request)))}</p>' if key else ""


def _form(action: str, fields: str, button: str, plain: bool = False) -> str:
    kind = ' class="plain"' if plain else ""
    return f'<form method="post" action="{action}">{fields}<button{kind}>{escape(button)}</button></form>'


def _sign_out(button: str) -> str:
    return _form("/sign-out", "", button, plain=True)


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def _field(name: str, label: str, kind: str = "text", **attributes: str) -> str:
    more = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return f'<label>{escape(label)}<input type="{kind}" name="{name}" required{more}></label>'


def _code_field(label: str, **more: str) -> str:
    digits = {"inputmode": "numeric", "autocomplete": "one-time-code", "pattern": "[0-9 ]{6,7}", "maxlength": "7"}
    return _field("code", label, **digits, **{"class": "code"}, **more)
