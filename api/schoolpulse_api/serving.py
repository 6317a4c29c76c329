"""Serves pages and API until the process is told to stop, and says how to come in."""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
from pathlib import Path

import uvicorn

from schoolpulse_api.settings import Settings, SettingsError
from schoolpulse_collector.registry import SYSTEM, Refused, Registry, grants, people, tokens

ADMINISTRATOR = "admin"  # login of the first one
ADDRESS = "address"  # file in home: where the centre that runs there, or ran last, listens
LINK_SECONDS = 12 * 3600  # how long a sign-in link waits to be used


def require_centre(settings: Settings) -> None:
    """Raise SettingsError where no centre has run or was made: a link would lead nowhere."""
    if not (settings.home / ADDRESS).exists() and not settings.has_tls:
        raise SettingsError(f"no centre has run in {settings.home}: name its folder with --home or SP_HOME")


def sign_in_link(
    settings: Settings, registry: Registry, login: str = ADMINISTRATOR, *, new_password: bool = False
) -> str:
    """A link that signs its first user in as this person; where there is nobody yet, the first administrator is made.

    ``new_password``: the one they have ends. Raises Refused.
    """
    with registry.change(SYSTEM) as change:
        person = people.by_login(change.session, login)
        if person is None:
            if login != ADMINISTRATOR or people.everybody(change.session):
                raise Refused(f"there is no person {login!r}: see schoolpulse person list")
            person = people.add(change, login, "Quản trị viên · Administrator")
            grants.grant(change, person=person.id, role="administrator")
        if new_password:
            people.set_password(change, person, "")
            people.close_logins(change, person)
        token = people.issue_link(change, person, LINK_SECONDS)
    return f"{address(settings)}/sign-in?token={token}"


def address(settings: Settings) -> str:
    """Where the centre in this folder listens, or listened last; else what the settings say."""
    try:
        return (settings.home / ADDRESS).read_text(encoding="utf-8").strip()
    except OSError:
        return settings.url


def serve(app: object, settings: Settings, registry: Registry, secure: ssl.SSLContext | None, *, link: bool) -> None:
    """Run the web server; ``secure``: with TLS; ``link``: print a sign-in link. Returns when told to stop."""
    token_file = _script_token(settings.home, registry)
    (settings.home / ADDRESS).write_text(f"{settings.url}\n")
    come_in = f"schoolpulse link --home {settings.home}"  # what is printed here stays in a journal
    if link:
        come_in = sign_in_link(settings, registry)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            lines = (
                "",
                f"  Nhịp trường · SchoolPulse: {settings.url}",
                f"  Đăng nhập một lần · one-time sign-in: {come_in}",
                f"  API: {settings.url}/docs · token cho chương trình · token for scripts: {token_file}",
                "  Dừng · stop: Ctrl-C",
                "",
            )
            print("\n".join(lines), flush=True)

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.http_host,
        port=settings.http_port,
        log_level="warning",
        http="h11",  # bounds a request's head; httptools reads any size into memory
        timeout_graceful_shutdown=2,  # live pages and streams never end by themselves
        server_header=False,
        ssl_context_factory=(lambda *_: secure) if secure else None,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        Server(config).run()
    finally:
        print("  Đang dừng · stopping ...", flush=True)


def _script_token(home: Path, registry: Registry) -> Path:
    """The file with the API token for scripts; a token that is still good stays."""
    path = home / "token"
    with registry.read() as session:
        if path.exists() and tokens.find(session, path.read_text().strip()):
            return path
    path.unlink(missing_ok=True)
    fresh = path.with_name(f"token.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    with registry.change(SYSTEM) as change:
        _, text = tokens.issue(change, "scripts", None, [("administrator", None, None)])
        fresh.write_text(text + "\n")
    fresh.replace(path)
    return path
