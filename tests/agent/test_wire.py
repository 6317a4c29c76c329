"""The wire takes what it promises, refuses the rest with a reason, and never raises anything but BadReport."""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schoolpulse_agent import wire
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.wire import BadReport, Batch, Presence, Receipt, Report

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure

Loads = Callable[[bytes], Any]
both_readers = pytest.mark.parametrize("loads", [json.loads, orjson.loads], ids=["json", "orjson"])
GOOD = '{"a":{"x":1}}'


def message(reports: str, v: str = "1", epoch: str = "7", low: str = "1") -> bytes:
    return f'{{"v":{v},"epoch":{epoch},"low":{low},"reports":{reports}}}'.encode("utf-8", "surrogatepass")


def report(m: str = GOOD, seq: str = "1", rest: str = '"t":1795449600123,"up":86400.2') -> str:
    return f'{{"seq":{seq},{rest},"m":{m}}}'


def decoded(body: bytes, loads: Loads) -> Batch | None:
    """The batch, None when refused; whatever else is raised fails the test."""
    try:
        batch = wire.decode(body, loads)
    except BadReport as why:
        assert why.reason in ("too_large", "zlib", "json", "version", "shape")
        return None
    for good in batch.reports:  # what was accepted can be stored and sent on
        assert all(math.isfinite(float(value)) for fields in good.m.values() for value in fields.values())
        assert wire.decode(wire.encode(batch.epoch, batch.low, [wire.encode_report(good)])).reports == [good]
    return batch


def reason(body: bytes, loads: Loads = json.loads) -> str:
    """Why a message with one report is refused: as a whole, or the report alone."""
    try:
        batch = wire.decode(body, loads)
    except BadReport as why:
        return why.reason
    assert not batch.reports
    return batch.refused[0].reason


# Strategies

a_name = st.text("az09_", max_size=31).map("a".__add__)
a_tag = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128).filter(str.isprintable)
a_tricky_tag = st.text(r"\,= ạộễ/:", min_size=1, max_size=12)
some_tags = st.dictionaries(a_name.map("t{:.31}".format), a_tag | a_tricky_tag, max_size=8)
a_value = st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
a_key = st.builds(wire.group_key, a_name, some_tags)
groups = st.dictionaries(a_key, st.dictionaries(a_name, a_value, min_size=1, max_size=4), min_size=1, max_size=3)
reports = st.builds(
    Report,
    seq=st.integers(1, wire.TOP),
    t=st.integers(0, wire.TOP),
    up=st.floats(0, 1e9),
    m=groups,
    child=st.none() | st.text("AZaz09_-", min_size=1, max_size=64),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
WORDS = "v epoch low reports seq t up child m cpu disk,path=/ usage now epochs state session"
keys = st.sampled_from(WORDS.split())
json_like = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=6),
    max_leaves=20,
)
report_like = st.fixed_dictionaries(
    {},
    optional={
        "seq": st.integers(-1, 3) | json_like,
        "t": st.integers() | json_like,
        "up": st.floats() | json_like,
        "m": st.dictionaries(keys, st.dictionaries(keys, scalars, max_size=3), max_size=3) | json_like,
        "child": json_like,
    },
)
message_like = st.fixed_dictionaries(
    {"v": st.just(1) | json_like, "epoch": st.just(1) | json_like, "low": st.just(1) | json_like},
    optional={"reports": st.lists(report_like | json_like, max_size=3) | json_like},
)


# Nothing but BadReport


@both_readers
@calm
@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"x")
@example(body=b"\x78\x9c")
@example(body="{}".encode("utf-16"))
def test_arbitrary_bytes_are_refused_and_raise_nothing_else(body: bytes, loads: Loads) -> None:
    assert decoded(body, loads) is None


@both_readers
@calm
@given(body=st.binary(max_size=200), level=st.integers(0, 9))
def test_arbitrary_bytes_in_zlib_are_refused_and_raise_nothing_else(body: bytes, level: int, loads: Loads) -> None:
    assert decoded(zlib.compress(body, level), loads) is None


@both_readers
@calm
@given(value=json_like)
def test_an_arbitrary_json_value_is_refused_and_raises_nothing_else(value: object, loads: Loads) -> None:
    assert decoded(json.dumps(value).encode(), loads) is None


@both_readers
@given(value=message_like, zipped=st.booleans())
@settings(calm, max_examples=300)
def test_what_looks_like_a_message_is_a_batch_or_refused(value: object, zipped: bool, loads: Loads) -> None:
    body = json.dumps(value).encode()
    batch = decoded(zlib.compress(body) if zipped else body, loads)
    if batch is not None:
        assert isinstance(value, dict)
        assert len(batch.reports) + len(batch.refused) == len(value["reports"])


VALID = [
    wire.encode(7, 1, [wire.encode_report(Report(1, 1795449600123, 86400.2, {r"disk,path=C:\\": {"used": 71.2}}))]),
    wire.encode(2**32 - 1, 5, [wire.encode_report(Report(n, n, 0, {"a,b=ộ": {"x": -n}}, "child")) for n in (5, 6)]),
]


@both_readers
@given(body=st.sampled_from([*VALID, *map(zlib.decompress, VALID)]), at=st.floats(0, 1), byte=st.integers(0, 255))
@settings(calm, max_examples=1000)
def test_one_changed_byte_in_a_message_raises_nothing_else(body: bytes, at: float, byte: int, loads: Loads) -> None:
    place = int(at * (len(body) - 1))
    decoded(body[:place] + bytes([byte]) + body[place + 1 :], loads)


@both_readers
@pytest.mark.parametrize("depth", [100, 900, 1000, 1020, 100_000])
@pytest.mark.parametrize(
    "frame",
    [
        "%s",
        '{"v":%s}',
        '{"v":1,"epoch":%s,"low":1,"reports":[]}',
        '{"v":1,"epoch":1,"low":1,"reports":%s}',
        '{"v":1,"epoch":1,"low":1,"reports":[{"seq":1,"t":1,"m":%s}]}',
        '{"v":1,"epoch":1,"low":1,"reports":[{"seq":1,"t":1,"m":{"a":{"x":%s}}}]}',
    ],
)
def test_deep_nesting_raises_nothing_else(frame: str, depth: int, loads: Loads) -> None:
    batch = decoded((frame % ("[" * depth + "]" * depth)).encode(), loads)
    assert batch is None or not batch.reports
    assert decoded((frame % ("[" * depth)).encode(), loads) is None  # never closed


# Round trips


@both_readers
@calm
@given(sent=st.lists(reports, max_size=5), epoch=st.integers(0, 2**32 - 1), low=st.integers(1, wire.TOP))
def test_what_is_encoded_is_what_is_decoded(sent: list[Report], epoch: int, low: int, loads: Loads) -> None:
    records = [wire.encode_report(each) for each in sent]
    assert not any(b"\n" in record for record in records)
    assert wire.decode(wire.encode(epoch, low, records), loads) == Batch(epoch, low, sent, [])


def test_a_message_need_not_be_zipped() -> None:
    assert wire.decode(message(f"[{report()}]")).reports == [Report(1, 1795449600123, 86400.2, {"a": {"x": 1}})]


@calm
@given(measurement=a_name, tags=some_tags)
@example("disk", {"path": "C:\\"})
@example("disk", {"path": "\\,=\\"})
@example("disk", {"a": "b,c=d", "path": "Phòng máy số 1"})
def test_a_group_key_splits_into_what_it_was_made_of(measurement: str, tags: dict[str, str]) -> None:
    key = wire.group_key(measurement, tags)
    assert wire.split_group(key) == (measurement, tuple(sorted(tags.items())))


def test_a_group_key_has_sorted_tags_and_backslashes_as_documented() -> None:
    assert wire.group_key("disk", {"path": "/", "fstype": "ext4"}) == "disk,fstype=ext4,path=/"
    assert wire.group_key("disk", {"path": r"C:\a,b=c"}) == r"disk,path=C:\\a\,b\=c"
    assert wire.group_key("mem", {}) == "mem"


@calm
@given(measurement=a_name, one=some_tags, other=some_tags)
def test_different_tags_never_share_a_group_key(measurement: str, one: dict[str, str], other: dict[str, str]) -> None:
    assert (wire.group_key(measurement, one) == wire.group_key(measurement, other)) == (one == other)


@calm
@given(st.text(max_size=30) | st.text(r"\,=ab", max_size=12))
def test_any_text_is_a_group_key_or_refused_by_name(key: str) -> None:
    try:
        measurement, tags = wire.split_group(key)
    except BadReport as why:
        assert why.reason == "name"
    else:
        assert wire.split_group(wire.group_key(measurement, dict(tags))) == (measurement, tuple(sorted(tags)))


# What is refused, and why


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"no json", "json"),
        (b"", "json"),
        (b"\xff\xfe\x00", "json"),
        (b"[" * 100_000, "json"),
        (b"[]", "shape"),
        (b"null", "shape"),
        (zlib.compress(b"[]")[:-1], "zlib"),
        (zlib.compress(message(f"[{report()}]"))[:-5], "zlib"),
        (zlib.compress(message(f"[{report()}]")) + b"x", "zlib"),
        (b"\x78\x9c no zlib at all", "zlib"),
        (zlib.compress(bytes(50_000_000)), "too_large"),
        (zlib.compress(b" " * (wire.MAX_BYTES + 1)), "too_large"),
        (b" " * (wire.MAX_BYTES + 1), "too_large"),
        (message("[]", v="2"), "version"),
        (message("[]", v="0"), "version"),
        (message("[]", v="true"), "version"),
        (message("[]", v='"1"'), "version"),
        (message("[]", v="null"), "version"),
        (b"{}", "version"),
        (message("[]", epoch="-1"), "shape"),
        (message("[]", epoch="4294967296"), "shape"),
        (message("[]", epoch="1.0"), "shape"),
        (message("[]", epoch="true"), "shape"),
        (message("[]", low="0"), "shape"),
        (message("[]", low="9007199254740993"), "shape"),
        (message("{}"), "shape"),
        (message("null"), "shape"),
        (message("[" + ",".join([report()] * 61) + "]"), "too_large"),
    ],
)
@both_readers
def test_a_message_that_can_not_be_read_is_refused_as_a_whole(body: bytes, expected: str, loads: Loads) -> None:
    with pytest.raises(BadReport) as why:
        wire.decode(body, loads)
    assert why.value.reason == expected


def test_a_message_of_60_reports_and_one_of_exactly_the_allowed_size_are_taken() -> None:
    body = message("[" + ",".join(report(seq=str(seq)) for seq in range(1, 61)) + "]")
    assert len(wire.decode(body).reports) == 60
    assert len(wire.decode(body.ljust(wire.MAX_BYTES)).reports) == 60
    assert len(wire.decode(zlib.compress(body.ljust(wire.MAX_BYTES))).reports) == 60


BAD_REPORTS = [
    ("null", "shape"),
    ("[]", "shape"),
    ("1", "shape"),
    (report(seq="0"), "shape"),
    (report(seq="1.0"), "shape"),
    (report(seq="true"), "shape"),
    (report(seq='"1"'), "shape"),
    (report(rest='"t":-1'), "shape"),
    (report(rest='"t":1.5'), "shape"),
    (report(rest='"t":null'), "shape"),
    (report(rest='"t":9007199254740993'), "shape"),
    (report(rest='"t":1,"up":-1'), "shape"),
    (report(rest='"t":1,"up":"1"'), "shape"),
    (report(rest='"t":1,"up":true'), "shape"),
    (report(rest='"t":1,"child":""'), "name"),
    (report(rest='"t":1,"child":"a/b"'), "name"),
    (report(rest='"t":1,"child":7'), "name"),
    (report(rest='"t":1,"child":"%s"' % ("c" * 65)), "name"),
    (report("{}"), "empty"),
    (report("null"), "empty"),
    (report("[]"), "empty"),
    (report('{"a":{}}'), "empty"),
    (report('{"a":[]}'), "empty"),
    (report('{"a":1}'), "empty"),
    (report('{"a":{"x":null}}'), "value"),
    (report('{"a":{"x":true}}'), "value"),
    (report('{"a":{"x":"1"}}'), "value"),
    (report('{"a":{"x":[1]}}'), "value"),
    (report('{"a":{"ok":1,"x":false}}'), "value"),
    (report('{"%s":{"x":1}}' % ("a" * 65)), "name"),
    (report('{"a":{"%s":1}}' % ("x" * 65)), "name"),
    (report('{"a,%s=1":{"x":1}}' % ("t" * 33)), "name"),
    (report('{"a,tag=%s":{"x":1}}' % ("v" * 129)), "name"),
    (report('{"A":{"x":1}}'), "name"),
    (report('{"":{"x":1}}'), "name"),
    (report('{"a b":{"x":1}}'), "name"),
    (report('{"a\\n":{"x":1}}'), "name"),
    (report('{"a":{"X":1}}'), "name"),
    (report('{"a":{"":1}}'), "name"),
    (report('{"a":{"x\\n":1}}'), "name"),
    (report('{"a":{"ⅹ":1}}'), "name"),
    (report('{"a":{"time":1}}'), "name"),
    (report('{"a":{"device":1}}'), "name"),
    (report('{"a,device=b":{"x":1}}'), "name"),
    (report('{"a,school=b":{"x":1}}'), "name"),
    (report('{"a,tag=":{"x":1}}'), "name"),
    (report('{"a,tag":{"x":1}}'), "name"),
    (report('{"a,":{"x":1}}'), "name"),
    (report('{",a":{"x":1}}'), "name"),
    (report('{"a,,b=c":{"x":1}}'), "name"),
    (report('{"a,tag=\\n":{"x":1}}'), "name"),
    (report('{"a,tag=b\\\\":{"x":1}}'), "name"),  # ends in a backslash that escapes nothing
    (report('{"a,tag=b,tag=c":{"x":1}}'), "name"),
    (report('{"a,tag=b":{"tag":1}}'), "name"),  # one name for a tag and a field
    (report('{"a,a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1":{"x":1}}'), "name"),
    (report(json.dumps({"a": {f"x{i}": 1 for i in range(2001)}})), "too_large"),
    (report(json.dumps({f"a{i}": {"x": 1} for i in range(2001)})), "too_large"),
]


@both_readers
@pytest.mark.parametrize(("bad", "expected"), BAD_REPORTS)
def test_a_bad_report_is_refused_alone_and_named(bad: str, expected: str, loads: Loads) -> None:
    bad = bad.replace('"seq":1,', '"seq":2,')
    batch = wire.decode(message(f"[{report(seq='1')},{bad},{report(seq='3')}]"), loads)
    assert [good.seq for good in batch.reports] == [1, 3]
    (refused,) = batch.refused
    assert refused.reason == expected
    assert refused.raw == loads(bad.encode())
    assert refused.seq == (2 if '"seq":2,' in bad else None)


@both_readers
@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "1" + "0" * 5000, "0x10", "01"]
)
def test_what_is_no_finite_number_is_never_accepted(number: str, loads: Loads) -> None:
    for m in (f'{{"a":{{"x":{number}}}}}', f'{{"a":{{"x":{number},"y":-{number}}}}}'):  # nor if two cancel each other
        assert reason(message(f"[{report(m)}]"), loads) in ("json", "value")


@both_readers
@pytest.mark.parametrize("sign", [1, -1])
def test_many_large_numbers_do_not_hide_one_that_is_too_large(sign: int, loads: Loads) -> None:
    fields = {"x": sign * -(10**309), **{f"y{n}": sign * 10**308 for n in range(10)}}  # their sum is 0
    assert reason(message(f"[{report(json.dumps({'a': fields}))}]"), loads) in ("json", "value")


@both_readers
@pytest.mark.parametrize("value", ["\\ud800", "\\udc00", "\\udc00\\ud800"])
def test_lone_surrogates_are_never_accepted(value: str, loads: Loads) -> None:
    for bad in (
        report(f'{{"a,tag={value}":{{"x":1}}}}'),
        report(f'{{"{value}":{{"x":1}}}}'),
        report(f'{{"a":{{"{value}":1}}}}'),
        report(rest=f'"t":1,"child":"{value}"'),
    ):
        assert reason(message(f"[{bad}]"), loads) in ("json", "name")


@both_readers
def test_raw_surrogates_in_the_bytes_are_never_accepted(loads: Loads) -> None:
    bad = report('{"a,tag=\ud800":{"x":1}}')
    assert reason(message(f"[{bad}]"), loads) in ("json", "name")


# The other messages


seq_ranges = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6))).map(Ranges)


@calm
@given(
    st.integers(0, wire.TOP),
    st.dictionaries(st.integers(0, 2**32 - 1), seq_ranges),
    st.none() | st.integers(0, 1000) | st.floats(0, wire.MAX_REPLAY),
)
@example(now=1, epochs={}, replay=0)  # nothing for now, not nothing said
@example(now=1, epochs={}, replay=wire.MAX_REPLAY)
def test_a_receipt_comes_back_as_it_was(now: int, epochs: dict[int, Ranges], replay: float | None) -> None:
    receipt = Receipt(now, epochs, replay)
    assert wire.decode_receipt(wire.encode_receipt(receipt)) == receipt


def test_a_receipt_that_says_no_pace_names_none() -> None:
    assert b"replay" not in wire.encode_receipt(Receipt(1, {}))
    for body in (b'{"now":1,"epochs":{}}', b'{"now":1,"epochs":{},"replay":null}'):
        assert wire.decode_receipt(body).replay is None


@pytest.mark.parametrize("state", ["online", "bye", "offline"])
@calm
@given(
    session=st.text(min_size=1, max_size=64),
    epoch=st.integers(0, 2**32 - 1),
    clock=st.integers(0, wire.TOP),
    interval=st.floats(0, 3600),
    hardware=st.from_regex("([0-9a-f]{16})?", fullmatch=True, alphabet="0123456789abcdef"),
)
def test_presence_comes_back_as_it_was(
    state: str, session: str, epoch: int, clock: int, interval: float, hardware: str
) -> None:
    said = Presence(state, session, epoch, clock, interval, hardware)
    back = wire.decode_presence(wire.encode_presence(said))
    assert back == (said if state == "online" else Presence(state, session))


def test_a_presence_of_an_agent_that_says_no_hardware_is_taken() -> None:
    assert wire.decode_presence(b'{"state":"online","session":"s"}').hardware == ""


@pytest.mark.parametrize(
    "body",
    [
        '{"state":"away","session":"s"}',
        '{"state":"online"}',
        '{"session":"s"}',
        '{"state":"online","session":""}',
        '{"state":"online","session":7}',
        '{"state":"online","session":"%s"}' % ("s" * 65),
        '{"state":"online","session":"s","epoch":-1}',
        '{"state":"online","session":"s","epoch":4294967296}',
        '{"state":"online","session":"s","clock":NaN}',
        '{"state":"online","session":"s","clock":"1"}',
        '{"state":"online","session":"s","interval":Infinity}',
        '{"state":"online","session":"s","interval":true}',
        '{"state":"online","session":"s","hardware":null}',
        '{"state":"online","session":"s","hardware":"0123456789ABCDEF"}',
        '{"state":"online","session":"s","hardware":"0123456789abcdef\\n"}',
        '{"state":"online","session":"s","hardware":"0123456789abcde"}',
        "[]",
        "7",
        '"state"',
    ],
)
def test_a_bad_presence_is_refused(body: str) -> None:
    with pytest.raises(BadReport):
        wire.decode_presence(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        '{"now":1}',
        '{"now":1,"epochs":[]}',
        '{"now":1,"epochs":{"x":[]}}',
        '{"now":1,"epochs":{"1":[[1]]}}',
        '{"now":1,"epochs":{"1":[[1,2,3]]}}',
        '{"now":1,"epochs":{"1":[7]}}',
        '{"now":1,"epochs":{"1":null}}',
        '{"now":1,"epochs":{"1":[[NaN,2]]}}',
        '{"now":1,"epochs":{"1":[[1,Infinity]]}}',
        '{"now":null,"epochs":{}}',
        '{"now":1e999,"epochs":{}}',
        *(f'{{"now":1,"epochs":{{}},"replay":{bad}}}' for bad in ("-1", "-0.001", "1000.001", "1001", "1e999", "NaN")),
        *(f'{{"now":1,"epochs":{{}},"replay":{bad}}}' for bad in ("Infinity", "true", "false", '"1"', "[]", "{}")),
        '{"now":1,"epochs":{},"replay":1%s}' % ("0" * 400),
    ],
)
def test_a_bad_receipt_is_refused(body: str) -> None:
    with pytest.raises(BadReport):
        wire.decode_receipt(body.encode())


OTHER_READERS = [wire.decode_receipt, wire.decode_presence]
receipt_like = st.fixed_dictionaries({"now": json_like, "epochs": st.dictionaries(st.text(max_size=3), json_like)})
presence_like = st.fixed_dictionaries(
    {"state": st.sampled_from(["online", "bye"]), "session": json_like},
    optional={"epoch": json_like, "clock": json_like, "interval": json_like, "hardware": json_like},
)


@pytest.mark.parametrize("decode", OTHER_READERS)
@calm
@given(body=st.binary(max_size=100) | st.binary(max_size=100).map(zlib.compress))
@example(body=b"[" * 100_000)
@example(body=b'{"epochs":' * 50_000)
def test_arbitrary_bytes_are_no_receipt_and_no_presence(body: bytes, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(BadReport):
        decode(body)


@pytest.mark.parametrize("decode", OTHER_READERS)
@given(value=json_like | receipt_like | presence_like)
@settings(calm, max_examples=200)
def test_a_receipt_or_presence_of_any_json_raises_nothing_else(
    value: object, decode: Callable[[bytes], object]
) -> None:
    with contextlib.suppress(BadReport):
        assert isinstance(decode(json.dumps(value).encode()), (Receipt, Presence))


@pytest.mark.parametrize("kind", ["report", "presence"])
def test_an_upward_topic_comes_apart_as_it_was_put_together(kind: str) -> None:
    assert wire.parse_up(wire.up_topic("thcs-lac-hong", "d01", kind)) == ("thcs-lac-hong", "d01", kind)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "sp/v1/up/a/b",
        "sp/v1/up/a/b/report/x",
        "sp/v1/up//b/report",
        "sp/v1/up/a//report",
        "sp/v1/up/a/b/",
        "sp/v2/up/a/b/report",
        "sp/v1/down/a/b/report",
        "/sp/v1/up/a/b/report",
        wire.down_topic("d01", "receipt"),
    ],
)
def test_any_other_topic_is_refused(topic: str) -> None:
    with pytest.raises(BadReport) as why:
        wire.parse_up(topic)
    assert why.value.reason == "topic"


@calm
@given(st.text(st.characters()) | st.lists(st.sampled_from(["sp", "v1", "up", "a", ""])).map("/".join))
def test_any_text_as_a_topic_is_read_or_refused(topic: str) -> None:
    try:
        school, device, kind = wire.parse_up(topic)
    except BadReport:
        return
    assert wire.up_topic(school, device, kind) == topic
