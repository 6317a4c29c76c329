"""``/packages/...``: newer versions of the agent, which agents fetch when their configuration offers one.

There is no secret in them, and an agent trusts none for coming from here: it asks for a signature that no server makes.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import FileResponse, Response

from schoolpulse_api import packages
from schoolpulse_api.centre import Centre
from schoolpulse_api.refusals import documented, not_json

Name = Annotated[str, Path(max_length=60, description="schoolpulse-agent-VERSION.zip")]


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(tags=["installation"])

    @made.get("/packages/{name}", summary="A version of the agent, for agents that update themselves",
              response_class=Response,
              responses={**not_json("application/zip"), **documented(422, _404="there is no such package")}
    )  # fmt: skip
    def package(name: Name) -> FileResponse:
        path = packages.find(centre.settings.home, name)
        if path is None:
            raise HTTPException(404, "this centre has no such package: 'schoolpulse rollout start' puts one here")
        return FileResponse(path, media_type="application/zip")

    return made
