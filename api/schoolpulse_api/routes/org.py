"""``/api/v1/org``: schools, units, rooms and memberships as files. For administrators of the centre."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel

from schoolpulse_api.access import needs
from schoolpulse_api.refusals import not_json
from schoolpulse_api.view import View
from schoolpulse_collector.registry import orgfile

MAX_BYTES = 20 * 2**20
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class PlanOut(BaseModel):
    """What a file would change, and what is wrong in it, row by row. ``applied``: whether it was done."""

    applied: bool
    changes: list[str]
    errors: list[str]


ADMINISTRATOR = needs("administrator", centre=True)


def router() -> APIRouter:
    """The routes."""
    made = APIRouter(prefix="/api/v1/org", tags=["org"])

    @made.post(
        "/import",
        summary="A CSV or XLSX file: a dry run, or with apply=true all of it or nothing",
    )
    def take(
        view: Annotated[View, ADMINISTRATOR],
        file: Annotated[UploadFile, File(description="at most 20 MB")],
        apply: Annotated[bool, Form(description="do it, unless there are errors")] = False,
    ) -> PlanOut:
        data = file.file.read(MAX_BYTES + 1)
        with view.change("administrator") as change:
            plan = orgfile.plan_from_bytes(file.filename or "", data, change.session)
            done = apply and not plan.errors
            if done:
                orgfile.apply(change, plan)
        return PlanOut(applied=done, changes=list(map(str, plan.changes)), errors=list(map(str, plan.errors)))

    @made.get("/export.xlsx", summary="All of it, as one XLSX file", response_class=Response, responses=not_json(XLSX))
    def export(view: Annotated[View, ADMINISTRATOR]) -> Response:
        with view.read("administrator") as session:
            data = orgfile.xlsx(session)
        return Response(data, media_type=XLSX, headers={"Content-Disposition": 'attachment; filename="schools.xlsx"'})

    return made
