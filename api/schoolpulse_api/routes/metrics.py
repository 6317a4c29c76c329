"""``/metrics`` for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from schoolpulse_api.access import needs
from schoolpulse_api.refusals import not_json
from schoolpulse_api.view import View


def router() -> APIRouter:
    """The route."""
    made = APIRouter(tags=["health"])

    @made.get(
        "/metrics",
        summary="Counters of the collector, in Prometheus' text format",
        response_class=Response,
        responses=not_json("text/plain"),
    )
    def metrics(view: Annotated[View, needs("operator", centre=True)]) -> PlainTextResponse:
        return PlainTextResponse(view.metrics(), media_type=CONTENT_TYPE_LATEST)

    return made
