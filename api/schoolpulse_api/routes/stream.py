"""``/api/v1/stream``: what happens, as it happens, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from schoolpulse_api.centre import Centre


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(prefix="/api/v1", tags=["stream"])

    @made.get("/stream", summary="Events 'report' and 'presence' as they come (text/event-stream)")
    async def stream(
        device: Annotated[str | None, Query(description="only this device's")] = None,
    ) -> EventSourceResponse:
        async def events() -> AsyncIterator[ServerSentEvent]:
            with centre.feed.listen() as queue:
                yield ServerSentEvent(comment="listening")
                while True:
                    event = await queue.get()
                    if device in (None, event.device):
                        data = json.dumps({"device": event.device, **event.data}, ensure_ascii=False)
                        yield ServerSentEvent(data, event=event.kind)

        return EventSourceResponse(events(), ping=15)

    return made
