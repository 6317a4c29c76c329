"""The contract between senders and the collector: topics, reports, receipts, presence.

Both sides import this file and nothing else of each other. Standard library only. MQTT 3.1.1; every payload is
JSON, reports may be zlib-compressed. Times are UTC milliseconds. ARCHITECTURE.md tells who holds a report when.
"""

from __future__ import annotations

import json
import re
import zlib
from functools import lru_cache
from math import isfinite
from typing import Any, Callable, NamedTuple

from schoolpulse_agent.ranges import Ranges

VERSION = 1
MAX_REPORTS = 60  # in one message
MAX_BYTES = 256 * 1024  # of one message, after unzipping
MAX_VALUES = 2000  # in one report
MAX_TEXT = 200  # letters
MAX_REPLAY = 1000.0  # messages a second
TOP = 2**53  # the largest whole number that JSON readers agree on
# Names a store needs for itself: no probe may use them for a tag or a field.
RESERVED = frozenset({"device", "school", "room", "kind", "t", "time"})

Fields = dict[str, float]
Groups = dict[str, Fields]  # "disk,path=/": {"used_percent": 71.2}; measurement, tags and fields as Telegraf names them
Epochs = dict[int, Ranges]


class BadReport(Exception):
    """These bytes will never be accepted, however often they come; ``reason`` is a word for counters."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Report(NamedTuple):
    """What one device measured at one instant."""

    seq: int  # counts from 1 in its epoch
    t: int  # UTC milliseconds, fixed before the first publish
    up: float  # seconds since boot
    m: Groups
    child: str | None = None  # which of a gateway's devices this is about


class Refused(NamedTuple):
    """One report of a readable message that can't be accepted."""

    seq: int | None  # None when not even that could be read
    reason: str
    raw: object


class Batch(NamedTuple):
    """One message of reports. ``epoch``: random, drawn at every start of the sender. ``low``: lowest seq it holds."""

    epoch: int
    low: int
    reports: list[Report]
    refused: list[Refused]


class Receipt(NamedTuple):
    """The collector's word that these ranges are durable with it; a sender deletes exactly them."""

    now: int  # the collector's clock, UTC milliseconds
    epochs: Epochs
    replay: float | None = None  # how many messages of backlog a second it takes from each sender; 0: none for now
    inventory: str = ""  # hash of the sender's inventory that is durable; empty: nothing is said of it
    duties: tuple[str, ...] = ()  # probes that one machine of a room reads for all, and it is this one


class Presence(NamedTuple):
    """What a sender says of its connection: ``online``, ``bye`` (clean) or ``offline`` (its last will)."""

    state: str
    session: str  # random for each connection
    epoch: int = 0
    clock: int = 0  # the sender's clock, UTC milliseconds
    interval: float = 60.0  # seconds between reports: 2.5 of them without a word is silence
    hardware: str = ""  # fingerprint of the machine it runs on, 16 lower hex digits; empty: unknown
    agent: str = ""  # its version
    inventory: str = ""  # hash of its inventory, see `parts.py`
    config: str = ""  # version of the configuration that it follows; empty: none but its own file
    # Version of the newest configuration that it does not follow, a space, and why; if there is none, the same of a
    # version of the agent, after the word ``agent``; empty: none of either.
    refused: str = ""


def up_topic(school: str, device: str, kind: str) -> str:
    """Topic of a sender's ``report``, ``presence`` or ``inventory``."""
    return f"sp/v{VERSION}/up/{school}/{device}/{kind}"


def down_topic(device: str, kind: str) -> str:
    """Topic of what the collector tells a sender: ``receipt`` or ``config``."""
    return f"sp/v{VERSION}/down/{device}/{kind}"


def parse_up(topic: str) -> tuple[str, str, str]:
    """Return (school, device, kind) of an upward topic; raise BadReport for any other."""
    parts = topic.split("/")
    if len(parts) != 6 or parts[:3] != ["sp", f"v{VERSION}", "up"] or not all(parts):
        raise BadReport("topic", topic[:120])
    return parts[3], parts[4], parts[5]


def group_key(measurement: str, tags: dict[str, str]) -> str:
    r"""``disk,fstype=ext4,path=/``: tags sorted; ``\`` before a comma, an equals sign or a backslash in a value."""
    return measurement + "".join("," + name + "=" + _ESCAPE.sub(r"\\\g<0>", tags[name]) for name in sorted(tags))


@lru_cache(maxsize=65_536)
def split_group(key: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the measurement and the tags of a group's key; raise BadReport("name")."""
    parts = _PARTS(key)
    if not parts or ",".join(parts) != key:
        raise BadReport("name", f"group {key[:80]!r}")
    measurement, *pairs = parts
    tags = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        value = _UNESCAPE.sub(r"\1", value)
        if not _TAG(name) or name in RESERVED or not 0 < len(value) <= 128 or not value.isprintable():
            raise BadReport("name", f"tag {pair[:80]!r}")
        tags.append((name, value))
    if not is_name(measurement) or len(tags) > 8 or len(dict(tags)) < len(tags):
        raise BadReport("name", f"group {key[:80]!r}")
    return measurement, tuple(tags)


def encode_report(report: Report) -> bytes:
    """One report as the JSON that an outbox keeps and a batch carries; holds no newline."""
    body = {"seq": report.seq, "t": report.t, "up": report.up, "m": report.m}
    if report.child is not None:
        body["child"] = report.child
    return json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def encode(epoch: int, low: int, records: list[bytes]) -> bytes:
    """A message of reports that ``encode_report`` made, zlib-compressed."""
    return zlib.compress(b'{"v":%d,"epoch":%d,"low":%d,"reports":[%b]}' % (VERSION, epoch, low, b",".join(records)), 6)


def decode(body: bytes, loads: Callable[[bytes], Any] = json.loads) -> Batch:
    """Read a message of reports, each judged alone; ``loads`` may be a faster JSON reader.

    Raises BadReport and nothing else, with reason ``too_large``, ``zlib``, ``json``, ``version`` or ``shape``.
    """
    message = load(body, loads)
    if not isinstance(message, dict):
        raise BadReport("shape", "not an object")
    if message.get("v") != VERSION or message["v"] is True:
        raise BadReport("version")
    reports = message.get("reports")
    if not _whole(message.get("epoch"), 0, 2**32 - 1) or not _whole(message.get("low"), 1) or type(reports) is not list:
        raise BadReport("shape", "epoch, low or reports")
    if len(reports) > MAX_REPORTS:
        raise BadReport("too_large", f"{len(reports)} reports")
    good: list[Report] = []
    refused: list[Refused] = []
    for raw in reports:
        try:
            good.append(_report(raw))
        except BadReport as why:
            seq = raw.get("seq") if isinstance(raw, dict) else None
            refused.append(Refused(seq if _whole(seq, 1) else None, why.reason, raw))
    return Batch(message["epoch"], message["low"], good, refused)


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt's payload."""
    said: dict[str, Any] = {
        "now": receipt.now,
        "epochs": {str(epoch): [*seqs] for epoch, seqs in receipt.epochs.items()},
    }
    said.update(
        {name: value for name, value in receipt._asdict().items() if name in _MAY_LACK and value not in (None, "", ())}
    )
    return dump(said)


def decode_receipt(body: bytes) -> Receipt:
    """Read a receipt; raise BadReport."""
    message = load(body)
    try:
        epochs = {
            int(epoch): Ranges((int(a), int(b)) for a, b in ranges) for epoch, ranges in message["epochs"].items()
        }
        replay, inventory, duties = message.get("replay"), message.get("inventory", ""), message.get("duties", [])
        if replay is not None and not (type(replay) in _NUMBERS and 0 <= replay <= MAX_REPLAY):
            raise ValueError(f"replay {replay!r}")
        if not is_hash(inventory) or type(duties) is not list or not all(map(is_name, duties)):
            raise ValueError("inventory or duties")
        return Receipt(int(message["now"]), epochs, replay, inventory, tuple(duties))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as why:
        raise BadReport("shape", str(why)) from None


def encode_presence(presence: Presence) -> bytes:
    """A presence message's payload; ``offline`` and ``bye`` say only which session they end."""
    if presence.state != "online":
        return dump({"state": presence.state, "session": presence.session})
    return dump(presence._asdict())


def decode_presence(body: bytes) -> Presence:
    """Read a presence message; raise BadReport."""
    message = load(body)
    try:
        said = Presence(**{name: message[name] for name in Presence._fields if name in message})
    except (TypeError, KeyError) as why:
        raise BadReport("shape", str(why)) from None
    numbers, texts = (said.clock, said.interval), (said.agent, said.inventory, said.config, said.refused)
    if (
        said.state not in ("online", "bye", "offline")
        or not isinstance(said.session, str)
        or not 0 < len(said.session) <= 64
        or not _whole(said.epoch, 0, 2**32 - 1)
        or not isinstance(said.hardware, str)
        or not is_hash(said.hardware)
        or not all(isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable() for text in texts)
        or not all(type(n) in (int, float) and 0 <= n <= TOP for n in numbers)
    ):
        raise BadReport("shape", "presence")
    return said


is_name = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII).fullmatch
_TAG = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII).fullmatch
is_hash = re.compile(r"([0-9a-f]{16})?", re.ASCII).fullmatch
_ESCAPE = re.compile(r"[\\,=]")
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PARTS = re.compile(r"(?:[^\\,]|\\.)+", re.DOTALL).findall
_NUMBERS = {int, float}
_MAY_LACK = ("replay", "inventory", "duties")  # of a receipt
_known_fields: set[str] = set()  # names already checked; bounded, so that a hostile sender can't fill the memory


def dump(message: dict[str, Any]) -> bytes:
    """A message as JSON."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()


def load(body: bytes, loads: Callable[[bytes], Any] = json.loads) -> Any:
    """What JSON, zlib-compressed or not, says; raise BadReport for what is none or too large."""
    if body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0:  # a zlib header; JSON starts with {
        try:
            unzip = zlib.decompressobj()
            body = unzip.decompress(body, MAX_BYTES + 1)
        except zlib.error as why:
            raise BadReport("zlib", str(why)) from None
        if len(body) <= MAX_BYTES and (not unzip.eof or unzip.unused_data):
            raise BadReport("zlib", "cut short or trailed")
    if len(body) > MAX_BYTES:
        raise BadReport("too_large", f"over {MAX_BYTES} bytes")
    try:
        return loads(body)
    except (ValueError, RecursionError) as why:
        raise BadReport("json", str(why)[:120]) from None


def _whole(number: Any, low: int, high: int = TOP) -> bool:
    return type(number) is int and low <= number <= high


def _report(raw: Any) -> Report:
    if not isinstance(raw, dict) or not _whole(raw.get("seq"), 1):
        raise BadReport("shape", "seq")
    t, up, groups, child = raw.get("t"), raw.get("up", 0.0), raw.get("m"), raw.get("child")
    if not _whole(t, 0) or type(up) not in _NUMBERS or not 0 <= up < TOP:
        raise BadReport("shape", "t or up")
    if child is not None and (not isinstance(child, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", child)):
        raise BadReport("name", "child")
    if type(groups) is not dict or not groups:
        raise BadReport("empty", "no group")
    if sum(len(fields) if type(fields) is dict else 1 for fields in groups.values()) > MAX_VALUES:
        raise BadReport("too_large", f"over {MAX_VALUES} values")
    for key, fields in groups.items():
        _check_group(key, fields)
    return Report(raw["seq"], raw["t"], float(up), groups, child)


def _check_group(key: str, fields: Any) -> None:
    _, tags = split_group(key)
    if type(fields) is not dict or not fields:
        raise BadReport("empty", f"{key[:80]!r}")
    if not set(map(type, fields.values())) <= _NUMBERS:  # refuses null, booleans, text, lists
        raise BadReport("value", f"{key[:80]!r}")
    try:
        values = fields.values()
        if not all(map(isfinite, (sum(values), max(values), min(values)))):  # NaN, infinities, what overflows a float
            raise BadReport("value", f"{key[:80]!r}")
    except OverflowError:
        raise BadReport("value", f"{key[:80]!r}") from None
    if not _known_fields.issuperset(fields):
        for name in fields:
            if not is_name(name) or name in RESERVED:
                raise BadReport("name", f"field {name[:80]!r}")
        if len(_known_fields) < 10_000:
            _known_fields.update(fields)
    if any(name in fields for name, _ in tags):
        raise BadReport("name", f"{key[:80]!r} uses one name for a tag and a field")
