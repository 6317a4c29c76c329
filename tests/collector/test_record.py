"""A record as a line of JSON: the same record comes back, and writing it again writes the same bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_collector.record import Record, decode, encode

RECORD = Record("d1", 7, 3, 1_795_449_600_123, 250, "s", "r", "lab_pc", {"mem": {"used": 1.5}})

TEXT = st.text(max_size=20)
WHOLE = st.integers(0, 2**53)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
GROUPS = st.dictionaries(TEXT, st.dictionaries(TEXT, VALUES, max_size=4), max_size=4)


@given(st.builds(Record, TEXT, WHOLE, WHOLE, WHOLE, st.integers(-(2**53), 2**53), TEXT, TEXT, TEXT, GROUPS, WHOLE))
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode(encode(record)) == record


@given(st.builds(Record, TEXT, WHOLE, WHOLE, WHOLE, WHOLE, TEXT, TEXT, TEXT, GROUPS, WHOLE))
def test_a_record_is_one_line_and_always_the_same_bytes(record: Record) -> None:
    line = encode(record)
    assert b"\n" not in line
    assert encode(decode(line)) == line


@pytest.mark.parametrize("number", [0, 1, -5, 2**53, 2**64 - 1])
def test_whole_numbers_of_the_wire_come_back_as_floats(number: int) -> None:
    whole = msgspec.structs.replace(RECORD, m={"disk,path=/": {"free": number}})
    value = decode(encode(whole)).m["disk,path=/"]["free"]
    assert type(value) is float
    assert value == float(number)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        encode(RECORD)[:-1],
        encode(RECORD) + b"}",
        encode(RECORD).replace(b'"seq":3', b'"seq":"3"'),
        encode(RECORD).replace(b'"seq":3', b'"seq":3.5'),
        encode(RECORD).replace(b"1.5", b"null"),
        encode(RECORD).replace(b"1.5", b"NaN"),
        encode(RECORD).replace(b'"d1"', b'"\xff"'),
        encode(RECORD).replace(b"device", b"devise"),
    ],
)
def test_what_is_no_record_raises_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(line)


def test_a_line_of_a_version_that_knew_no_low_is_read_as_if_all_were_held() -> None:
    line = encode(RECORD).replace(b',"low":1', b"")
    assert b"low" not in line
    assert decode(line) == RECORD


def test_a_record_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        RECORD.seq = 4  # type: ignore[misc]
