"""``/healthz`` for watchdogs and ``/metrics`` for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schoolpulse_api.centre import Centre


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(tags=["health"])

    @made.get("/healthz", summary="Does every part work? 200 if so, 503 if not")
    def healthz() -> JSONResponse:
        parts = centre.healthy()
        good = all(parts.values())
        return JSONResponse({"status": "ok" if good else "failing", "parts": parts}, 200 if good else 503)

    @made.get("/metrics", summary="Counters of the collector, in Prometheus' text format")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(centre.counters.registry), media_type=CONTENT_TYPE_LATEST)

    return made
