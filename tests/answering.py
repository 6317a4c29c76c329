"""An HTTP server that answers what a test wants: what stands at a store's address need not be a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

PAGE = b"<html>Sign in to the network</html>"


class Answering(NamedTuple):
    """Where it listens, and what it was asked: (path, Authorization)."""

    port: int
    heard: list[tuple[str, str | None]]


@contextmanager
def answering(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[Answering]:
    """``answer``: path -> status and content."""
    heard: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.append((self.path, self.headers["Authorization"]))
            status, content = answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield Answering(made.server_port, heard)
        made.shutdown()
