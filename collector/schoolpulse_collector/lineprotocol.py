"""Records as InfluxDB line protocol, and a writer of such lines over HTTP: what VictoriaMetrics and InfluxDB share.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ says how a line is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson
import urllib3
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from schoolpulse_agent.wire import BadReport, split_group
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import Refusal, StoreDown
from schoolpulse_collector.storeserver import TIMEOUT

Backslashes = Callable[[str], str]
POST_LINES, POST_LEAST = 10_000, 100  # of about 150 bytes
CONTENT_STATUS = (400, 413, 422)  # it is about these lines; any other is about the server or how we reach it
_LIMIT = re.compile(r"max-\S+ limit exceeded").search  # as InfluxDB says it
_ESCAPE = re.compile(r"[ ,=]")
_TO_FIELDS = bytes.maketrans(b":", b"=")  # {"a":1.5,"b":2.0} -> a=1.5,b=2.0 in one call


class Line(NamedTuple):
    """One line, and what it was made of."""

    record: Record
    group: str
    text: bytes


def render(records: Iterable[Record], backslashes: Backslashes) -> tuple[list[Line], list[Refusal]]:
    """A line for each group of each record, and one of measurement ``report``; the same record gives the same bytes.

    ``backslashes``: how this server wants those of a tag's value written, for servers differ in that.
    """
    lines: list[Line] = []
    refusals: list[Refusal] = []
    for record in records:
        if not record.m:
            continue
        arrival = {"epoch": float(record.epoch), "seq": float(record.seq), "lag_ms": float(record.lag)}
        for group, fields in (("report", arrival), *record.m.items()):
            try:
                head = _head(group, record.device, record.school, record.room, record.kind, backslashes)
            except BadReport as why:  # another version spooled it
                refusals.append(Refusal(record, group, str(why)))
                continue
            if fields is not arrival and head.startswith(b"report,"):
                refusals.append(Refusal(record, group, "a name of the store's own"))
                continue
            values = orjson.dumps(fields).translate(_TO_FIELDS, b'"{}')  # names were checked, values are floats
            lines.append(Line(record, group, b"%b %b %d" % (head, values, record.t)))
    return lines, refusals


@lru_cache(maxsize=262_144)
def _head(group: str, device: str, school: str, room: str, kind: str, backslashes: Backslashes) -> bytes:
    """Measurement and tags; an empty tag is no tag."""
    measurement, tags = split_group(group)
    if not all(map(str.isprintable, (device, school, room, kind))):  # a line's end in it would begin another line
        raise BadReport("name", "a key with letters that can't be printed")
    found = {"device": device, "school": school, "room": room, "kind": kind, **dict(tags)}
    written = ((name, _ESCAPE.sub(r"\\\g<0>", backslashes(value))) for name, value in sorted(found.items()))
    return (measurement + "".join(f",{name}={value}" for name, value in written if value)).encode()


class LineWriter:
    """Writes lines to a server of the InfluxDB 2 write path, ``/api/v2/write``."""

    def __init__(self, url: str, bucket: str, org: str, token: str) -> None:
        self._url, self._bucket, self._at_once = url, bucket, POST_LINES
        self._client = InfluxDBClient(url=url, token=token, org=org, timeout=TIMEOUT)
        self._post = self._client.write_api(write_options=SYNCHRONOUS).write

    def write(self, lines: Sequence[Line]) -> list[Refusal]:
        """Store lines; the server has them when it returns. What it will never take is returned. Raises StoreDown."""
        refusals, first = list[Refusal](), 0
        while first < len(lines):
            part = lines[first : first + self._at_once]
            refusals += self._write(part)
            first += len(part)
            self._at_once = min(POST_LINES, self._at_once * 2)
        return refusals

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _write(self, lines: Sequence[Line]) -> list[Refusal]:
        body = b"\n".join(line.text for line in lines)
        try:
            self._post(bucket=self._bucket, record=body, write_precision="ms")
        except ApiException as why:
            said = str(why.body or why.reason).strip()
            if why.status in (401, 403, 404):
                raise StoreDown(f"{self._url} answers {why.status}: check address, token and bucket; {said}") from why
            # A limit of the server is no fault of the points: an operator can raise it.
            if why.status not in CONTENT_STATUS or _LIMIT(said):
                raise StoreDown(f"{self._url} answers {why.status}: {said}") from why
            if len(lines) == 1:
                return [Refusal(lines[0].record, lines[0].group, said)]
        except (urllib3.exceptions.HTTPError, OSError) as why:
            self._at_once = max(POST_LEAST, self._at_once // 2)  # it may be too slow for so many
            raise StoreDown(f"{self._url}: {why}") from why
        else:
            status = self._client.api_client.last_response.status
            if status != 204:  # a sign-in page of some proxy, and no store
                raise StoreDown(f"{self._url} answers {status} to a write, as no store does")
            return []
        half = len(lines) // 2  # the others of the batch are good: find the one that is not
        return self._write(lines[:half]) + self._write(lines[half:])
