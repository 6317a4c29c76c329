"""API tokens: what programs show instead of signing in. They may do what their grants say."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import SYSTEM, Change, Refused, Registry, credential, grants, now
from schoolpulse_collector.registry.model import ApiToken

PREFIX = "spk_"
MINUTE = 60_000  # milliseconds


def issue(
    change: Change, label: str, seconds: float | None, wanted: Sequence[tuple[str, str | None, str | None]]
) -> tuple[ApiToken, str]:
    """A new token and its text, which is nowhere else. ``seconds``: how long it is good, None: until revoked.

    ``wanted``: (role, unit, school). Raises Refused for an empty label or a grant that can't be.
    """
    label = "".join(sign for sign in " ".join(label.split()) if sign.isprintable())[:190]  # `token:label` is an actor
    if not label:
        raise Refused("a token needs a label that says what it is for")
    text = PREFIX + credential.new_secret()
    row = ApiToken(hash=credential.digest(text), label=label, created=change.now, created_by=change.by)
    row.expires = None if seconds is None else change.now + int(seconds * 1000)
    change.session.add(row)
    change.session.flush()
    change.note("token.issue", f"token:{row.id}", label=label, expires=row.expires)
    for role, unit, school in wanted:
        grants.grant(change, token=row.id, role=role, unit=unit, school=school)
    return row, text


def find(session: Session, text: str) -> ApiToken | None:
    """The token with this text, unless revoked or expired."""
    good = or_(ApiToken.expires.is_(None), ApiToken.expires > now())
    query = select(ApiToken).where(ApiToken.hash == credential.digest(text), ApiToken.revoked.is_(False), good)
    return session.scalars(query).one_or_none()


def touch(registry: Registry, token: ApiToken) -> None:
    """Remember that a token was used in this minute; writes once a minute, however often it is called."""
    minute = now() // MINUTE * MINUTE
    if token.last_used < minute:
        with registry.change(SYSTEM) as change:
            fresh = update(ApiToken).where(ApiToken.id == token.id, ApiToken.last_used < minute)
            change.session.execute(fresh.values(last_used=minute))
        token.last_used = minute


def everything(session: Session) -> list[ApiToken]:
    """All tokens, the newest first."""
    return list(session.scalars(select(ApiToken).order_by(ApiToken.id.desc())))


def revoke(change: Change, token_id: int) -> None:
    """From now on nobody comes in with this token. Raises Refused if there is none with this number."""
    row = change.session.get(ApiToken, token_id)
    if row is None:
        raise Refused(f"there is no token {token_id}")
    if not row.revoked:
        row.revoked = True
        change.note("token.revoke", f"token:{row.id}", label=row.label)
