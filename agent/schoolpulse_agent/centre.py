"""One question to the centre over HTTPS: bounded in time and size, no redirect followed, errors that say what to do."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
TIMEOUT = 15.0  # seconds for one question, all in all
MAX_ANSWER = 64 * 1024
HERE = "is this the centre's address?"


class EnrolFailed(Exception):
    """The centre gave nothing; the message is one line that says what to do, ``retry`` whether time alone can help."""

    def __init__(self, message: str, retry: bool, status: int = 0, wait: float = 0.0) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status  # HTTP's, 0 if there was no answer
        self.wait = wait  # seconds that the centre asked to wait


def post(url: str, what: str, body: dict[str, Any], trusting: ssl.SSLContext) -> dict[str, Any]:
    """Send JSON to ``/api/v1/<what>`` (enrol, rekey or renew), return the JSON object. Raises EnrolFailed."""
    status, headers, said = ask(url, "POST", f"/api/v1/{what}", json.dumps(body).encode(), trusting)
    if status not in (200, 201):
        raise _refusal(url, what, status, headers, said)
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EnrolFailed(f"{url} answered with something else than JSON: {HERE}", False, status)
    return found


def ask(
    url: str,
    method: str,
    path: str,
    body: bytes | None,
    context: ssl.SSLContext,
    limit: int = MAX_ANSWER,
    seconds: float = TIMEOUT,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request, no redirect followed: (status, headers, body). Raises EnrolFailed.

    ``limit``: bytes that an answer may have; ``seconds``: for all of it.
    """

    def exchange() -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(url)
        connection = (
            http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
        )
        try:
            connection.request(method, parts.path + path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read(limit + 1)
        finally:
            connection.close()

    try:
        status, headers, said = within(seconds, exchange)
    except ssl.SSLCertVerificationError as why:
        raise EnrolFailed(f"{url}: {_untrusted(why)}; nothing was sent", False) from None
    except (OSError, http.client.HTTPException, ValueError) as why:
        sent = (
            "; if it then says 403, the first try has spent the token: get a new one" if path.endswith("enrol") else ""
        )
        told = str(why) or type(why).__name__
        raise EnrolFailed(
            f"{url} can't be reached ({told}): check address and network, then try again{sent}", True
        ) from None
    if len(said) > limit:
        raise EnrolFailed(f"{url} answered with more than {limit} bytes: {HERE}", False)
    return status, headers, said


def within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` returns or raises; TimeoutError after so many seconds, even if it hangs in looking up a name."""
    ended: list[tuple[T | None, BaseException | None]] = []

    def work() -> None:
        try:
            ended.append((call(), None))
        except BaseException as why:  # raised again below, in the thread that asked
            ended.append((None, why))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TimeoutError(f"no answer in {seconds:g} s")
    result, why = ended[0]
    if why is not None:
        raise why
    return result  # type: ignore[return-value]


def _untrusted(why: ssl.SSLCertVerificationError) -> str:
    """What a refused server certificate means and what to do; the numbers are X509_V_ERR_ of openssl/x509_vfy.h."""
    if why.verify_code in (62, 64):
        return "its certificate is for another name: use the name that the centre gave"
    if why.verify_code in (9, 10):
        return "its certificate is not valid today: set this machine's clock, or tell the centre"
    reason = why.verify_message
    return f"its certificate is not from the centre's CA ({reason}): somebody may be in between; tell the centre"


def _refusal(url: str, what: str, status: int, headers: http.client.HTTPMessage, said: bytes) -> EnrolFailed:
    if status == 403:
        do = {
            "enrol": "this token is unknown, used up, expired or revoked: ask the centre for a new one",
            "rekey": "the centre gives this device no new identity: ask the centre, or enrol with --force",
            "renew": "the centre renews no certificate for this device: ask the centre, or enrol with --force",
        }
        return EnrolFailed(do[what], False, status)
    if status == 429:
        after = headers.get("Retry-After", "")
        wait = min(float(after), 86_400.0) if re.fullmatch(r"[0-9]{1,9}", after, re.ASCII) else 60.0
        return EnrolFailed(f"too many tries: try again in {wait:.0f} s", True, status, wait)
    try:
        detail = json.loads(said)["detail"]
    except (ValueError, RecursionError, TypeError, KeyError):
        detail = ""
    detail = detail if isinstance(detail, str) else ""  # a list of errors may hold what was sent, and so a secret
    told = "".join(letter for letter in detail[:200] if letter.isprintable())
    told = f" ({told})" if told else ""
    if status == 422:
        odd = "the centre does not understand this agent: update the agent or the centre"
        return EnrolFailed(odd + told, False, status)
    if status >= 500:
        return EnrolFailed(f"{url}: the centre is in trouble, HTTP {status}{told}: try again later", True, status)
    return EnrolFailed(f"{url}: HTTP {status}{told}: {HERE}", False, status)
