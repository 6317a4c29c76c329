"""A store that is a server: its address, and how it is asked. Whatever goes wrong on the way is StoreDown."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import orjson
import urllib3

from schoolpulse_collector.store import StoreDown

TIMEOUT = 10_000  # milliseconds for one request


def address(url: str, example: str) -> str:
    """The server's HTTP address in a store's URL such as ``kind://host:1`` or ``kind+https://host``.

    Raises ValueError that shows ``example``.
    """
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError as why:
        raise ValueError(f"store {url!r}: {why}; write {example}") from None
    if parts.username or parts.password:  # it would stand in logs
        raise ValueError(f"store: no user name or password in its URL; write {example}")
    scheme = parts.scheme.partition("+")[2] or "http"
    if not parts.hostname or parts.fragment or scheme not in ("http", "https"):
        raise ValueError(f"store {url!r}: write {example}, with +https before the colon to encrypt")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}{port}"


class Server:
    """Asks one server. Thread-safe."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        headers = {"Authorization": f"Token {token}"} if token else {}
        self._http = urllib3.PoolManager(timeout=TIMEOUT / 1000, retries=False, headers=headers)

    def get(self, path: str) -> bytes:
        """The body of a page. Raises StoreDown."""
        return self._request("GET", path, None)

    def ask(self, path: str, fields: dict[str, Any]) -> Any:
        """The JSON that answers a form. Raises StoreDown."""
        body = self._request("POST", path, fields)
        try:
            return orjson.loads(body)
        except ValueError as why:
            raise StoreDown(f"{self.url}{path} answers no JSON: is it the store's address? {body[:100]!r}") from why

    def _request(self, method: str, path: str, fields: dict[str, Any] | None) -> bytes:
        form = {"fields": fields, "encode_multipart": False} if fields is not None else {}
        try:
            answer = self._http.request(method, self.url + path, **form)  # type: ignore[arg-type]
        except urllib3.exceptions.HTTPError as why:
            raise StoreDown(f"{self.url}: {why}") from why
        if answer.status != 200:
            raise StoreDown(f"{self.url}{path} answers {answer.status}: {answer.data[:300].decode(errors='replace')}")
        return answer.data
