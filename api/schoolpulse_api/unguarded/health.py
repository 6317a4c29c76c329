"""``/healthz`` for watchdogs: whether each part works, and nothing else."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from schoolpulse_api.centre import Centre


class Health(BaseModel):
    """``status``: ok or failing; ``parts``: the names of the parts and whether each works."""

    status: str
    parts: dict[str, bool]


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(tags=["health"])

    @made.get(
        "/healthz",
        summary="Does every part work? 200 if so, 503 if not",
        response_model=Health,
        responses={503: {"model": Health}},
    )
    def healthz() -> JSONResponse:
        parts = centre.healthy()
        good = all(parts.values())
        return JSONResponse({"status": "ok" if good else "failing", "parts": parts}, 200 if good else 503)

    return made
