"""``/api/v1/schools/{school}/tokens``: the tokens that machines of a school enrol with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from schoolpulse_api.access import needs
from schoolpulse_api.enrolline import line
from schoolpulse_api.fields import Key, Kind, Line, Number
from schoolpulse_api.view import Missing, View
from schoolpulse_collector.registry import enrolment, now
from schoolpulse_collector.registry.model import EnrolmentToken


class TokenIn(BaseModel):
    """What a token is for."""

    room: Key | None = None
    uses: int = Field(40, ge=1, le=enrolment.MAX_USES, description="machines")
    days: float = Field(7, gt=0, le=enrolment.MAX_DAYS, description="how long it is good")
    kind: Kind = "lab_pc"
    label: Line = ""


class TokenOut(BaseModel):
    """A token, without its text. Instants in UTC milliseconds."""

    id: int
    school: str
    room: str | None
    kind: str
    label: str
    uses: int
    used: int
    expires: int
    created: int
    created_by: str


class TokenMade(TokenOut):
    """A new token. Its text, and with it the commands and the QR code (SVG), are shown only now.

    ``command``: for a machine that has the agent; ``linux``, ``windows``: for one that has not.
    """

    text: str
    command: str
    linux: str
    windows: str
    link: str
    qr: str


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1/schools/{school}", tags=["enrolment"])

    @made.get("/tokens", summary="The tokens of a school that are still good")
    def tokens(view: Annotated[View, needs("technician")], school: Key) -> list[TokenOut]:
        with view.read("technician", school) as session:
            return [_shown(row) for row in enrolment.tokens(session, school, now())]

    @made.post("/tokens", status_code=201, summary="A new token: text, command and QR code, shown only once")
    def issue(view: Annotated[View, needs("technician")], school: Key, asked: TokenIn) -> TokenMade:
        authority = view.authority
        if authority is None:
            raise HTTPException(400, "this centre has no CA yet, so no machine could trust it: run `schoolpulse init`")
        with view.change("technician", school) as change:
            row, text = enrolment.issue(change, authority.fingerprint, school, **asked.model_dump())
            shown = line(view.settings.url, text, authority.ca_pem)
            return TokenMade(**_shown(row).model_dump(), text=text, **shown._asdict())

    @made.delete("/tokens/{token}", status_code=204, summary="Withdraw a token; machines that used it stay")
    def withdraw(view: Annotated[View, needs("technician")], school: Key, token: Number) -> None:
        with view.change("technician", school) as change:
            row = change.session.get(EnrolmentToken, token)
            if row is None or row.school != school:
                raise Missing(f"school {school!r} has no token {token}")
            enrolment.withdraw(change, token)

    return made


def _shown(row: EnrolmentToken) -> TokenOut:
    return TokenOut(**{name: getattr(row, name) for name in TokenOut.model_fields})
