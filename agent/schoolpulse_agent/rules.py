"""What each setting must keep to beside its kind, as one readable list; each break says so in both languages."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from schoolpulse_agent.settings import Settings

_TOPIC_LEVEL = re.compile(r"[A-Za-z0-9_-]{0,64}", re.ASCII).fullmatch
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def broken(settings: Settings) -> Iterator[tuple[str, str]]:
    """What is wrong with these settings and how to write it, in English and Vietnamese."""
    yield from _addresses(settings)
    yield from _numbers(settings)
    if settings.update.enabled and not is_public_key(settings.update.public_key):
        yield (
            "update.public_key: copy it as 'schoolpulse package key' printed it, 44 letters",
            "update.public_key: chép đúng như 'schoolpulse package key' đã in, 44 ký tự",
        )


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    broker, centre = settings.broker, settings.centre
    for name, value in (("id", settings.device.id), ("school", settings.device.school)):
        if not _TOPIC_LEVEL(value):
            said = f"device.{name} {value!r}"
            yield f"{said}: write it as the centre gave it", f"{said}: viết đúng như trung tâm đã cấp"
    try:
        scheme, port = urlsplit(broker.url).scheme, broker.port
    except ValueError:
        scheme, port = "", 0
    said = f"broker.url {broker.url!r}"
    if scheme not in ("mqtt", "mqtts") or not broker.host or not 0 < port < 65536:
        yield f"{said}: give it as mqtts://host:8883", f"{said}: viết theo dạng mqtts://host:8883"
    elif not broker.tls and broker.host not in LOOPBACK:
        yield (
            f"{said} is not encrypted: use mqtts:// for another machine",
            f"{said} không mã hóa: dùng mqtts:// khi nối đến máy khác",
        )
    if bool(broker.certificate_file) != bool(broker.key_file):
        both = "broker.certificate_file", "broker.key_file"
        yield (
            f"{both[0]} and {both[1]} go together: name both or neither",
            f"{both[0]} và {both[1]} phải đi cùng nhau: ghi cả hai hoặc bỏ cả hai",
        )
    if centre.url and not is_centre(centre.url):
        said = f"centre.url {centre.url!r}"
        yield f"{said}: give it as https://host:8443", f"{said}: viết theo dạng https://host:8443"


def _numbers(settings: Settings) -> Iterator[tuple[str, str]]:
    reports, limits = settings.reports, settings.limits
    if not 1 <= reports.interval <= 3600:
        yield "reports.interval must be 1 to 3600 seconds", "reports.interval phải từ 1 đến 3600 giây"
    if not 0.1 <= limits.cpu_percent <= 100 or not 24 <= limits.memory_mb <= 4096:
        yield (
            "limits.cpu_percent must be 0.1 to 100, memory_mb 24 to 4096",
            "limits.cpu_percent phải từ 0.1 đến 100, memory_mb từ 24 đến 4096",
        )
    finite = all(isfinite(number) for number in (reports.keep_mb, reports.replay_rate, reports.replay_spread))
    if not finite or reports.keep_mb < 1 or reports.replay_rate <= 0 or reports.replay_spread < 0:
        yield (
            "reports.keep_mb must be 1 or more, replay_rate above 0, replay_spread 0 or more",
            "reports.keep_mb phải từ 1 trở lên, replay_rate lớn hơn 0, replay_spread từ 0 trở lên",
        )


def is_public_key(said: str) -> bool:
    """Whether this is an Ed25519 public key: 32 bytes in base64."""
    try:
        return len(base64.b64decode(said, validate=True)) == 32
    except ValueError:
        return False


def is_centre(url: str) -> bool:
    """Whether this can be a centre's address: https, or http on this machine alone; no user, query or fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc) and url.isprintable() and " " not in url
    return safe and plain and bool(parts.hostname) and port != 0
