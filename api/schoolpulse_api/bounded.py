"""How much a request may carry: what reads it has all of it in memory before any route is asked."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

MOST = 2**20  # bytes; what strangers send and all that is JSON
FILES = {"/api/v1/org/import": 21 * 2**20}  # bytes


def bounded(scope: Scope, receive: Receive) -> Receive:
    """``receive`` of a request, which raises HTTPException 413 past so many bytes."""
    if scope["type"] != "http":
        return receive
    most, read = FILES.get(scope["path"], MOST), 0

    async def receiving() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, f"this is too large: at most {most} bytes", {"Connection": "close"})
        return message

    return receiving
