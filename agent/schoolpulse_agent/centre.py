"""One question to the centre over HTTPS: bounded in time and size, no redirect followed, errors that say what to do."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from urllib.parse import urlsplit

from schoolpulse_agent import language

if TYPE_CHECKING:
    import http.client

T = TypeVar("T")
TIMEOUT = 15.0  # seconds for one question, all in all
MAX_ANSWER = 64 * 1024
HERE, HERE_VI = "is this the centre's address?", "đây có đúng là địa chỉ trung tâm không?"


class EnrolFailed(language.Told):
    """The centre gave nothing; the message is one line that says what to do, ``retry`` whether time alone can help."""

    def __init__(self, en: str, vi: str, retry: bool, status: int = 0, wait: float = 0.0) -> None:
        super().__init__(en, vi)
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
        raise EnrolFailed(
            f"{url} answered with something else than JSON: {HERE}",
            f"{url} trả lời không phải JSON: {HERE_VI}",
            False,
            status,
        )
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
    import http.client  # here, for an agent asks rarely and this takes 2 MB

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
        en, vi = untrusted(why)
        raise EnrolFailed(f"{url}: {en}; nothing was sent", f"{url}: {vi}; chưa gửi gì đi", False) from None
    except (OSError, http.client.HTTPException, ValueError) as why:
        raise _unreached(url, path, why) from None
    if len(said) > limit:
        raise EnrolFailed(
            f"{url} answered with more than {limit} bytes: {HERE}",
            f"{url} trả lời dài hơn {limit} byte: {HERE_VI}",
            False,
        )
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


def _unreached(url: str, path: str, why: Exception) -> EnrolFailed:
    told = str(why) or type(why).__name__
    en, vi = unreached(why)
    if path.endswith("enrol"):
        en += "; if it then says 403, the first try has spent the token: get a new one"
        vi += "; nếu lúc đó báo mã đã dùng thì lần này đã dùng mất mã: xin mã mới"
    return EnrolFailed(f"{url} can't be reached ({told}): {en}", f"không kết nối được {url} ({told}): {vi}", retry=True)


def unreached(why: Exception) -> tuple[str, str]:
    """What to do when there is no connection, in English and Vietnamese."""
    if isinstance(why, socket.gaierror):
        return (
            "nobody knows this name: check address and network (DNS), then try again",
            "không tìm thấy tên máy chủ này: kiểm tra địa chỉ và mạng (DNS) rồi thử lại",
        )
    if isinstance(why, ConnectionRefusedError):
        return (
            "nothing listens there: check address, port and whether the centre runs, then try again",
            "không có dịch vụ nào ở đó: kiểm tra địa chỉ, cổng và xem trung tâm có đang chạy, rồi thử lại",
        )
    return "check address and network, then try again", "kiểm tra địa chỉ và mạng rồi thử lại"


def untrusted(why: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """What a refused server certificate means and what to do, in English and Vietnamese.

    The numbers are X509_V_ERR_ of openssl/x509_vfy.h.
    """
    if why.verify_code in (62, 64):
        return (
            "its certificate is for another name: use the name that the centre gave",
            "chứng thư của nó mang tên khác: dùng đúng tên mà trung tâm đã cho",
        )
    if why.verify_code in (9, 10):
        return (
            "its certificate is not valid today: set this machine's clock, or tell the centre",
            "chứng thư của nó không có hiệu lực hôm nay: chỉnh ngày giờ của máy này, hoặc báo trung tâm",
        )
    reason = why.verify_message
    return (
        f"its certificate is not from the centre's CA ({reason}): somebody may be in between; tell the centre",
        f"chứng thư của nó không do CA của trung tâm cấp ({reason}): có thể có kẻ đứng giữa; hãy báo trung tâm",
    )


REFUSED = {
    "enrol": (
        "this token is unknown, used up, expired or revoked: ask the centre for a new one",
        "mã đăng ký này không đúng, đã dùng hết, hết hạn hoặc bị thu hồi: xin trung tâm mã mới",
    ),
    "rekey": (
        "the centre gives this device no new identity: ask the centre, or enrol with --force",
        "trung tâm không cấp danh tính mới cho máy này: hỏi trung tâm, hoặc đăng ký lại với --force",
    ),
    "renew": (
        "the centre renews no certificate for this device: ask the centre, or enrol with --force",
        "trung tâm không gia hạn chứng thư cho máy này: hỏi trung tâm, hoặc đăng ký lại với --force",
    ),
}


def _refusal(url: str, what: str, status: int, headers: http.client.HTTPMessage, said: bytes) -> EnrolFailed:
    if status == 403:
        return EnrolFailed(*REFUSED[what], retry=False, status=status)
    if status == 429:
        after = headers.get("Retry-After", "")
        wait = min(float(after), 86_400.0) if re.fullmatch(r"[0-9]{1,9}", after, re.ASCII) else 60.0
        en, vi = f"too many tries: try again in {wait:.0f} s", f"thử quá nhiều lần: thử lại sau {wait:.0f} giây"
        return EnrolFailed(en, vi, True, status, wait)
    try:
        detail = json.loads(said)["detail"]
    except (ValueError, RecursionError, TypeError, KeyError):
        detail = ""
    detail = detail if isinstance(detail, str) else ""  # a list of errors may hold what was sent, and so a secret
    told = "".join(letter for letter in detail[:200] if letter.isprintable())
    told = f" ({told})" if told else ""
    if status == 422:
        return EnrolFailed(
            f"the centre does not understand this agent: update the agent or the centre{told}",
            f"trung tâm không hiểu phần mềm này: cập nhật phần mềm hoặc trung tâm{told}",
            False,
            status,
        )
    if status >= 500:
        return EnrolFailed(
            f"{url}: the centre is in trouble, HTTP {status}{told}: try again later",
            f"{url}: trung tâm đang gặp sự cố, HTTP {status}{told}: thử lại sau",
            True,
            status,
        )
    return EnrolFailed(f"{url}: HTTP {status}{told}: {HERE}", f"{url}: HTTP {status}{told}: {HERE_VI}", False, status)
