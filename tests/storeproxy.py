"""An HTTP proxy before a store: speaks InfluxDB 1.8's write path to an InfluxDB 1.6; can be slow or refuse a point."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


class StoreProxy:
    """Passes requests to ``target``; thread-safe to meddle with while it runs."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.delay = 0.0  # seconds before each request is passed on
        self.cut_answers = False  # the store does what it is asked, but nobody hears of it
        self.down = 0  # answer so with an error of this status and pass nothing on
        self.poison = b""  # a write that has this in it is refused whole, as for a point that can't be stored
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or head and body of an answer wait for each other

            def do_GET(self) -> None:
                proxy._pass_on(self)

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that was killed
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        time.sleep(self.delay)
        if self.down:
            return _answer(request, self.down, b'{"code":"internal error","message":"meddled with"}')
        if self.poison and request.command == "POST" and self.poison in body:
            return _answer(request, 400, b'{"code":"invalid","message":"one of these points is refused"}')
        try:
            there = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
            headers = {"Content-Type": request.headers.get("Content-Type", "text/plain")}
            there.request(request.command, _as_influx1(request.path), body, headers)
            answer = there.getresponse()
            content = answer.read()
            there.close()
        except OSError:
            request.close_connection = True
            return request.connection.close()
        if self.cut_answers and request.command == "POST":
            request.close_connection = True
            return request.connection.close()
        return _answer(request, answer.status, content)


def _as_influx1(path: str) -> str:
    """``/api/v2/write?bucket=b`` of InfluxDB 1.8 and later is ``/write?db=b`` before; VictoriaMetrics takes both."""
    parts = urlsplit(path)
    if parts.path != "/api/v2/write":
        return path
    asked = parse_qs(parts.query)
    return "/write?" + urlencode({"db": asked["bucket"][0], "precision": asked["precision"][0]})


def _answer(request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
    try:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(0 if status == 204 else len(content)))
        request.end_headers()
        if status != 204:
            request.wfile.write(content)
    except OSError:
        pass
