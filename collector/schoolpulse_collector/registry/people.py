"""People: who there is, and how one proves to be somebody: password, code, one-time link, browser session.

A function that changes a person reads the row again inside its transaction; the object passed in only says whom.
"""

from __future__ import annotations

import re

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import Change, Refused, credential, now, passwords, totp
from schoolpulse_collector.registry.model import Link, Login, Person

HOUR = 3_600_000  # milliseconds
LOGIN_HOURS = 12  # then everybody signs in again
LINK_SECONDS = 12 * 3600
STAGES = ("full", "code", "setup")
LOGIN = re.compile(r"[a-z0-9._@-]{2,64}")


# Who there is.


def add(change: Change, login: str, name: str) -> Person:
    """A new person, who has no password and no rights yet. Raises Refused for a login that is taken or can't be one."""
    login = login.strip().lower()
    if not LOGIN.fullmatch(login):
        raise Refused(f"{login!r} can't be a login: it has 2 to 64 letters a-z, digits or . _ @ -")
    if by_login(change.session, login):
        raise Refused(f"the login {login} is taken: choose another")
    person = Person(login=login, name=_name(name) or login, created=change.now)
    change.session.add(person)
    change.session.flush()
    change.note("person.add", f"person:{login}", name=person.name)
    return person


def by_login(session: Session, login: str) -> Person | None:
    """The person of a login, however it is capitalised."""
    login = login.strip().lower()
    if not LOGIN.fullmatch(login):  # PostgreSQL refuses some texts that people can send
        return None
    return session.scalars(select(Person).where(Person.login == login)).one_or_none()


def everybody(session: Session) -> list[Person]:
    """All people, by login."""
    return list(session.scalars(select(Person).order_by(Person.login)))


def of_provider(change: Change, issuer: str, subject: str, login: str, name: str) -> Person:
    """Whom an OpenID Connect provider vouches for; added, under a login near to this one, if never seen before.

    Never somebody who is here already by the mere name: the provider may give any name to anybody.
    """
    known = select(Person).where(Person.issuer == issuer, Person.subject == subject)
    if person := change.session.scalars(known).first():
        return person
    person = add(change, _free_login(change.session, login), name)
    person.issuer, person.subject = issuer, subject
    return person


def rename(change: Change, person: Person, name: str) -> None:
    """Give a person another name. Raises Refused for an empty one."""
    row, name = _row(change, person), _name(name)
    if not name:
        raise Refused("a name can't be empty")
    if row.name != name:
        change.note("person.rename", f"person:{row.login}", before=row.name, after=name)
        row.name = name


def deactivate(change: Change, person: Person) -> None:
    """From now on this person can't come in: sessions and links end."""
    row = _row(change, person)
    close_logins(change, row)
    change.session.execute(delete(Link).where(Link.person == row.id))
    if row.active:
        row.active = False
        change.note("person.deactivate", f"person:{row.login}")


def activate(change: Change, person: Person) -> None:
    """A deactivated person may sign in again, as before."""
    row = _row(change, person)
    if not row.active:
        row.active = True
        change.note("person.activate", f"person:{row.login}")


# Password.


def set_password(change: Change, person: Person, hashed: str) -> None:
    """Keep what `passwords.hash_password` made of a password that `passwords.problem` had nothing against; empty: none.

    Raises ValueError for what is no such hash, as a password itself.
    """
    if hashed and not hashed.startswith("$argon2id$"):
        raise ValueError("set_password keeps what hash_password returns, never a password")
    row = _row(change, person)
    row.password_hash = hashed
    change.note("person.password" if hashed else "person.forget_password", f"person:{row.login}")


def check_password(session: Session, login: str, password: str) -> Person | None:
    """Who signs in so. None for a wrong login, a wrong password, no password or an inactive person, in equal time."""
    person = by_login(session, login)
    good = passwords.matches(password, person.password_hash if person else "")
    return person if person and good and person.active else None


# Second factor.


def confirm_totp(change: Change, person: Person, secret: str, code: str) -> bool:
    """Keep a secret if the code shows that an app has it. Raises Refused if the person has one already."""
    row = _row(change, person)
    if row.totp_secret:
        raise Refused("a second factor is set up already: an administrator removes it first")
    step = totp.step_of(secret, code, change.now)
    if step is None:
        return False
    row.totp_secret, row.totp_last = secret, step
    change.note("person.totp", f"person:{row.login}")
    return True


def check_totp(change: Change, person: Person, code: str) -> bool:
    """Whether this is a code of now or of the step before or after, and later than the last one that was good."""
    row = _row(change, person)
    step = totp.step_of(row.totp_secret, code, change.now) if row.totp_secret else None
    if step is None or step <= row.totp_last:
        return False
    row.totp_last = step
    return True


def remove_totp(change: Change, person: Person) -> None:
    """The person signs in without a code from now on, and may set up a new app."""
    row = _row(change, person)
    if row.totp_secret:
        row.totp_secret, row.totp_last = "", 0
        change.note("person.remove_totp", f"person:{row.login}")


# One-time links.


def issue_link(change: Change, person: Person, seconds: float = LINK_SECONDS) -> str:
    """The text of a link that signs this person in once. Raises Refused for an inactive person."""
    row = _row(change, person)
    if not row.active:
        raise Refused(f"{row.login} is not active")
    change.session.execute(delete(Link).where(Link.expires <= change.now))
    text = credential.new_secret()
    expires = change.now + int(seconds * 1000)
    change.session.add(Link(hash=credential.digest(text), person=row.id, expires=expires))
    change.note("person.link", f"person:{row.login}", expires=expires)
    return text


def spend_link(change: Change, text: str) -> Person | None:
    """Whose link this is, exactly once; None if unknown, spent or expired, or for an inactive person."""
    spent = delete(Link).where(Link.hash == credential.digest(text), Link.expires > change.now).returning(Link.person)
    number = change.session.scalar(spent)
    person = change.session.get(Person, number) if number else None
    return person if person and person.active else None


def link_is_good(session: Session, text: str) -> bool:
    """Whether a link could be spent now: strangers' guesses are turned away without a transaction."""
    return session.scalar(select(Link.expires > now()).where(Link.hash == credential.digest(text))) or False


# Browser sessions.


def open_login(change: Change, person: Person, stage: str, agent: str) -> str:
    """A browser's session for 12 hours; its text, which only the browser keeps. ``agent``: the browser's own name."""
    row = _row(change, person)
    change.session.execute(delete(Login).where(Login.expires <= change.now))
    text = credential.new_secret()
    times = {"created": change.now, "expires": change.now + LOGIN_HOURS * HOUR}
    change.session.add(
        Login(hash=credential.digest(text), person=row.id, stage=_stage(stage), agent=agent[:200], **times)
    )
    return text


def login_of(session: Session, text: str) -> tuple[Login, Person] | None:
    """The session with this text and whose it is; None if there is none, it has ended or its person is not active."""
    query = select(Login, Person).join(Person, Person.id == Login.person)
    found = session.execute(
        query.where(Login.hash == credential.digest(text), Login.expires > now(), Person.active)
    ).one_or_none()
    return (found[0], found[1]) if found else None


def logins_of(session: Session, person: Person) -> list[Login]:
    """A person's open sessions, the newest first."""
    query = select(Login).where(Login.person == person.id, Login.expires > now())
    return list(session.scalars(query.order_by(Login.created.desc(), Login.hash)))


def close_login(change: Change, login: Login) -> None:
    """End one session; one that has ended is no error."""
    change.session.execute(delete(Login).where(Login.hash == login.hash))


def close_logins(change: Change, person: Person, but: Login | None = None) -> None:
    """End a person's sessions, all or all but one."""
    others = delete(Login).where(Login.person == person.id)
    change.session.execute(others.where(Login.hash != but.hash) if but else others)


def _row(change: Change, person: Person) -> Person:
    row = change.session.get(Person, person.id)
    if row is None:
        raise Refused("there is no such person")
    return row


def _free_login(session: Session, wish: str) -> str:
    """A login nobody has, near to what a provider calls somebody."""
    plain = re.sub(r"[^a-z0-9._@-]+", "-", wish.strip().lower()).strip("-")[:56] or "person"
    names = [plain] if LOGIN.fullmatch(plain) else []
    taken = set(session.scalars(select(Person.login).where(Person.login.startswith(plain, autoescape=True))))
    names += [f"{plain}-{number}" for number in range(2, len(taken) + 3)]
    return next(name for name in names if name not in taken)


def _name(text: str) -> str:
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:200]


def _stage(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"no stage {stage!r}")
    return stage
