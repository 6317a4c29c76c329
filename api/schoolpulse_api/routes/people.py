"""``/api/v1/people``, ``/api/v1/grants``, ``/api/v1/api-tokens``: who may do what. For administrators of the centre."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key, Number
from schoolpulse_api.view import Missing, View
from schoolpulse_collector.registry import grants, people, tokens
from schoolpulse_collector.registry.model import ApiToken, Grant, Person

Role = Literal["viewer", "technician", "area_it", "operator", "administrator"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class GrantIn(BaseModel):
    """A role in a unit and all below it, or in a school, or (neither named) everywhere."""

    role: Role
    unit: Key | None = None
    school: Key | None = None


class GrantOut(GrantIn):
    """A grant; ``source``: local, or oidc for those that the provider decides at each sign-in."""

    id: int
    source: str


class PersonIn(BaseModel):
    """Somebody new."""

    login: Annotated[str, StringConstraints(max_length=64)]
    name: Name
    grants: list[GrantIn] = Field([], max_length=100)


class PersonOut(BaseModel):
    """Somebody who may sign in. ``password`` and ``totp``: whether they have set them."""

    id: int
    login: str
    name: str
    active: bool
    password: bool
    totp: bool
    grants: list[GrantOut]


class PersonMade(PersonOut):
    """A new person, and a path that signs them in once; they set their password then."""

    link: str


class LinkOut(BaseModel):
    """A path that signs somebody in once, within 12 hours."""

    link: str


class ApiTokenIn(BaseModel):
    """A program."""

    label: Name
    days: float | None = Field(None, gt=0, le=3660, description="null: until it is revoked")
    grants: list[GrantIn] = Field(min_length=1, max_length=100)


class ApiTokenOut(BaseModel):
    """A program's token, without its text. Instants in UTC milliseconds."""

    id: int
    label: str
    created: int
    created_by: str
    expires: int | None
    last_used: int
    grants: list[GrantOut]


class ApiTokenMade(ApiTokenOut):
    """A new token; its text is shown only now."""

    text: str


ADMINISTRATOR = needs("administrator", centre=True)


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1", tags=["people"])
    _people(made)
    _grants(made)
    _tokens(made)
    return made


def _people(made: APIRouter) -> None:
    @made.get("/people", summary="Who may sign in, and what they may")
    def listed(view: Annotated[View, ADMINISTRATOR]) -> list[PersonOut]:
        with view.read("administrator") as session:
            return [_person(session, row) for row in session.scalars(select(Person).order_by(Person.login))]

    @made.post("/people", status_code=201, summary="Somebody new; the answer holds their first link")
    def add(view: Annotated[View, ADMINISTRATOR], asked: PersonIn) -> PersonMade:
        with view.change("administrator") as change:
            row = people.add(change, asked.login, asked.name)
            for each in asked.grants:
                grants.grant(change, person=row.id, **each.model_dump())
            link = f"/sign-in?token={people.issue_link(change, row)}"
            return PersonMade(**_person(change.session, row).model_dump(), link=link)

    @made.post("/people/{person}/link", status_code=201, summary="A new one-time link, for a forgotten password")
    def link(view: Annotated[View, ADMINISTRATOR], person: Number) -> LinkOut:
        with view.change("administrator") as change:
            row = _found(change.session, person)
            people.set_password(change, row, "")  # the link asks for a new one
            people.close_logins(change, row)
            return LinkOut(link=f"/sign-in?token={people.issue_link(change, row)}")

    @made.post("/people/{person}/deactivate", status_code=204, summary="They can't sign in; sessions end at once")
    def deactivate(view: Annotated[View, ADMINISTRATOR], person: Number) -> None:
        with view.change("administrator") as change:
            people.deactivate(change, _found(change.session, person))

    @made.post("/people/{person}/reset-totp", status_code=204, summary="They lost their second factor")
    def reset_totp(view: Annotated[View, ADMINISTRATOR], person: Number) -> None:
        with view.change("administrator") as change:
            people.remove_totp(change, _found(change.session, person))


def _grants(made: APIRouter) -> None:
    @made.post("/people/{person}/grants", status_code=201, summary="Grant a person a role")
    def grant(view: Annotated[View, ADMINISTRATOR], person: Number, asked: GrantIn) -> GrantOut:
        with view.change("administrator") as change:
            _found(change.session, person)
            return _grant(grants.grant(change, person=person, **asked.model_dump()))

    @made.delete("/grants/{grant}", status_code=204, summary="Withdraw a grant; it ends within a second")
    def withdraw(view: Annotated[View, ADMINISTRATOR], grant: Number) -> None:
        with view.change("administrator") as change:
            if change.session.get(Grant, grant) is None:
                raise Missing(f"there is no grant {grant}")
            grants.withdraw(change, grant)


def _tokens(made: APIRouter) -> None:
    @made.get("/api-tokens", summary="Tokens of programs")
    def listed(view: Annotated[View, ADMINISTRATOR]) -> list[ApiTokenOut]:
        with view.read("administrator") as session:
            good = select(ApiToken).where(ApiToken.revoked.is_(False)).order_by(ApiToken.id)
            return [_token(session, row) for row in session.scalars(good)]

    @made.post("/api-tokens", status_code=201, summary="A token for a program, shown only once")
    def issue(view: Annotated[View, ADMINISTRATOR], asked: ApiTokenIn) -> ApiTokenMade:
        seconds = None if asked.days is None else asked.days * 86_400
        with view.change("administrator") as change:
            places = [(each.role, each.unit, each.school) for each in asked.grants]
            row, text = tokens.issue(change, asked.label, seconds, places)
            return ApiTokenMade(**_token(change.session, row).model_dump(), text=text)

    @made.delete("/api-tokens/{token}", status_code=204, summary="Revoke a token; it ends within a second")
    def revoke(view: Annotated[View, ADMINISTRATOR], token: Number) -> None:
        with view.change("administrator") as change:
            if change.session.get(ApiToken, token) is None:
                raise Missing(f"there is no token {token}")
            tokens.revoke(change, token)


def _found(session: Session, person: int) -> Person:
    row = session.get(Person, person)
    if row is None:
        raise Missing(f"there is no person {person}")
    return row


def _person(session: Session, row: Person) -> PersonOut:
    given = [_grant(each) for each in grants.of_person(session, row.id)]
    known = {"password": bool(row.password_hash), "totp": bool(row.totp_secret)}
    return PersonOut(id=row.id, login=row.login, name=row.name, active=row.active, grants=given, **known)


def _grant(row: Grant) -> GrantOut:
    return GrantOut(id=row.id, role=cast(Role, row.role), unit=row.unit, school=row.school, source=row.source)


def _token(session: Session, row: ApiToken) -> ApiTokenOut:
    plain = {name: getattr(row, name) for name in ApiTokenOut.model_fields if name != "grants"}
    return ApiTokenOut(**plain, grants=[_grant(each) for each in grants.of_token(session, row.id)])
