"""What is answered when something can't be done: always JSON with ``detail``, a sentence, and never what was sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DataError

from schoolpulse_api.view import Forbidden, Missing, SignedOut
from schoolpulse_collector.certificate import BadRequest
from schoolpulse_collector.registry import Refused, RegistryDown
from schoolpulse_collector.registry.enrolment import NotAdmitted


class Detail(BaseModel):
    """Why not, and what to do."""

    detail: str


NO = "this token or secret is not good (any more): ask the school's technician or the centre for a new one"
MISTAKE = "a mistake in this server, which its log tells of: tell who runs it; a retry hardly helps"
TROUBLES: dict[type[Exception], int] = {  # what may be raised anywhere, and what it is answered with
    Refused: 400,
    BadRequest: 400,
    SignedOut: 401,
    Forbidden: 403,
    NotAdmitted: 403,
    DataError: 400,
    Missing: 404,
    RegistryDown: 503,
}
SAID = {
    400: "this can't be done; the answer says why, trying again can't help",
    401: "show a token",
    403: "this takes another role",
    404: "there is none that you may see",
    413: "the request is too large",
    422: "the request is not as it must be; the answer says where",
    503: "the database or the store does not answer: try again later",
}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "CONNECT"}
MOST_NAMED = 5  # mistakes of one request


def documented(*statuses: int, **other: str) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these statuses; ``other``, as ``_403``: in other words."""
    words = {status: SAID[status] for status in statuses} | {int(name[1:]): text for name, text in other.items()}
    return {status: {"model": Detail, "description": text} for status, text in sorted(words.items())}


def not_json(media_type: str) -> dict[int | str, dict[str, Any]]:
    """For ``responses`` of a route with ``response_class=Response``: text or bytes if it is done, JSON if not."""
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}


def attach(app: FastAPI) -> None:
    """Answer every trouble this way."""
    for trouble, status in TROUBLES.items():
        app.add_exception_handler(trouble, _answer(status))
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(Exception, _mistake)


def refuse_the_rest(app: FastAPI) -> None:
    """Answer wrong methods and unknown paths of the API before the console's pages, which take every path, do."""

    def add(path: str, status: int, methods: set[str], allowed: set[str]) -> None:
        def refuse(request: Request) -> JSONResponse:
            if status == 405:
                return JSONResponse(
                    {"detail": f"{request.method} is not for this path"}, 405, {"Allow": ", ".join(sorted(allowed))}
                )
            return JSONResponse({"detail": "the API has no such path: /docs shows those it has"}, 404)

        app.add_route(path, refuse, methods=sorted(methods), include_in_schema=False)

    for path, operations in app.openapi()["paths"].items():
        allowed = {method.upper() for method in operations}
        add(path, 405, METHODS - allowed, allowed)
    add("/api/{rest:path}", 404, METHODS, set())
    app.openapi_schema = None


def down(why: Exception) -> JSONResponse:
    """The registry is away."""
    return JSONResponse({"detail": str(why)}, 503, {"Retry-After": "5"})


def _answer(status: int) -> Any:
    async def answer(_request: Request, why: Exception) -> JSONResponse:
        if isinstance(why, RegistryDown):
            return down(why)
        said = {NotAdmitted: NO, DataError: "the database can't keep one of these values: write plain text"}
        return JSONResponse({"detail": said.get(type(why), str(why))}, status)

    return answer


async def _wrong(_request: Request, why: Exception) -> JSONResponse:
    # FastAPI's own answer repeats what was sent: a secret, perhaps, or what no JSON can hold.
    errors = why.errors() if isinstance(why, RequestValidationError) else []
    told = [f"{'.'.join(map(str, each['loc']))[:100]}: {each['msg']}" for each in errors[:MOST_NAMED]]
    told += [f"and {len(errors) - MOST_NAMED} more"] if len(errors) > MOST_NAMED else []
    text = "".join(letter if letter.isprintable() else "?" for letter in "; ".join(told))
    return JSONResponse({"detail": text}, 422)


async def _mistake(_request: Request, _why: Exception) -> JSONResponse:
    return JSONResponse({"detail": MISTAKE}, 500)
