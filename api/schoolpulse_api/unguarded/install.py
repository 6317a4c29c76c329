"""``/install.sh``, ``/install.ps1`` and ``/installers/...``: what a machine needs before anybody knows it.

There is no secret in any of it. Who runs it must know that it comes from this centre: the command that
`schoolpulse enrol` prints verifies that before anything of it is run.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import FileResponse, PlainTextResponse, Response

from schoolpulse_api import installers
from schoolpulse_api.centre import Centre
from schoolpulse_api.refusals import documented, not_json

Name = Annotated[str, Path(max_length=100, description="as schoolpulse-agent.deb, or with a version")]
ALWAYS_ASK = {"Cache-Control": "no-cache"}


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(tags=["installation"])

    def script(name: str) -> PlainTextResponse:
        return PlainTextResponse(installers.script(name), headers=ALWAYS_ASK)

    @made.get("/install.sh", summary="Installs and enrols the agent on Linux", response_class=Response,
              responses=not_json("text/plain"))  # fmt: skip
    def linux() -> PlainTextResponse:
        return script("install.sh")

    @made.get("/install.ps1", summary="Installs and enrols the agent on Windows", response_class=Response,
              responses=not_json("text/plain"))  # fmt: skip
    def windows() -> PlainTextResponse:
        return script("install.ps1")

    @made.get("/installers/{name}", summary="A package of the agent, or the newest of a kind", response_class=Response,
              responses={**not_json("application/octet-stream"), **documented(422, _404="there is no such package")}
    )  # fmt: skip
    def package(name: Name) -> FileResponse:
        try:
            path = installers.find(centre.settings.installers_folder, name)
        except installers.NoInstaller as why:
            raise HTTPException(404, str(why)) from None
        return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=ALWAYS_ASK)

    return made
