"""Inventories on the wire: what one side makes the other reads, and anything else is refused in one way."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent.parts import MAX_TEXT, decode_inventory, encode_inventory, inventory_of
from schoolpulse_agent.wire import BadReport, group_key

PARTS = {"cpu": {"model": "Intel Core i3", "cores": 4}, "memory,slot=DIMM A1": {"size": 8589934592}}
printable = st.text(max_size=MAX_TEXT).filter(str.isprintable)
values = st.one_of(printable, st.integers(-(2**53), 2**53), st.floats(-1e15, 1e15))
names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
keys = st.builds(
    lambda name, slot: group_key(name, {"slot": slot} if slot else {}), names, printable.map(lambda s: s[:60])
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(keys, st.dictionaries(names, values, min_size=1, max_size=5), max_size=10))
def test_what_one_side_makes_the_other_reads(parts: dict[str, Any]) -> None:
    made = inventory_of(parts)
    assert decode_inventory(encode_inventory(made)) == made


def test_the_hash_is_of_the_parts_in_whatever_order() -> None:
    assert inventory_of(dict(reversed(PARTS.items()))).hash == inventory_of(PARTS).hash
    assert inventory_of({**PARTS, "cpu": {"model": "other", "cores": 4}}).hash != inventory_of(PARTS).hash


@pytest.mark.parametrize(
    "parts",
    [
        None,
        [],
        {"cpu": {}},
        {"cpu": None},
        {"CPU": {"cores": 4}},
        {"cpu": {"Cores": 4}},
        {"cpu": {"cores": None}},
        {"cpu": {"cores": True}},
        {"cpu": {"cores": float("nan")}},
        {"cpu": {"cores": 2**60}},
        {"cpu": {"model": "two\nlines"}},
        {"cpu": {"model": "x" * (MAX_TEXT + 1)}},
        {f"disk,name=d{n}": {"size": 1} for n in range(2001)},
    ],
)
def test_what_is_no_inventory_is_refused(parts: Any) -> None:
    with pytest.raises(BadReport):
        inventory_of(parts)
    with pytest.raises(BadReport):
        decode_inventory(json.dumps({"v": 1, "hash": "0" * 16, "parts": parts}).encode())


@pytest.mark.parametrize("change", [{"hash": "0" * 16}, {"v": 2}, {"parts": {"cpu": {"cores": 5}}}, {"hash": None}])
def test_an_inventory_that_is_not_what_its_hash_says_is_refused(change: dict[str, Any]) -> None:
    message = json.loads(zlib.decompress(encode_inventory(inventory_of(PARTS))))
    with pytest.raises(BadReport):
        decode_inventory(json.dumps({**message, **change}).encode())


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_do_more_than_being_refused(body: bytes) -> None:
    with pytest.raises(BadReport):
        decode_inventory(body)
