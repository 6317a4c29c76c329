"""``/api/v1/stream``: what happens, as it happens, as server-sent events."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from schoolpulse_api.access import needs
from schoolpulse_api.fields import Key
from schoolpulse_api.refusals import not_json
from schoolpulse_api.view import SignedOut, View


def router() -> APIRouter:
    """The route."""
    made = APIRouter(prefix="/api/v1", tags=["stream"])

    @made.get(
        "/stream",
        summary="Events 'report' and 'presence' as they come (text/event-stream)",
        response_class=Response,
        responses=not_json("text/event-stream"),
    )
    async def stream(
        view: Annotated[View, needs("viewer")],
        device: Annotated[Key | None, Query(description="only this device's")] = None,
    ) -> EventSourceResponse:
        async def events() -> AsyncIterator[ServerSentEvent]:
            with view.feed.listen() as queue, contextlib.suppress(SignedOut):  # then the stream ends
                yield ServerSentEvent(comment="listening")
                while True:
                    event = await queue.get()
                    if device in (None, event.device) and await run_in_threadpool(view.sees, event.device):
                        data = json.dumps({"device": event.device, **event.data}, ensure_ascii=False)
                        yield ServerSentEvent(data, event=event.kind)

        return EventSourceResponse(events(), ping=15)

    return made
