"""Blocks on disk come back whole or are given up alone, and a write is all or nothing."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schoolpulse_agent import segment
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.segment import HEAD, MARK, Records, Segment

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure

records = st.dictionaries(
    st.integers(1, 2**53), st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=12
)
SOME = {seq: b'{"seq":%d,"m":{"cpu":{"usage":%d}}}' % (seq, seq * 7919 % 100) for seq in range(1, 51)}
BLOCKS = [{seq: SOME[seq] for seq in range(first, first + 10)} for first in range(1, 51, 10)]
PACKED = [segment.pack(block) for block in BLOCKS]
STARTS = [sum(map(len, PACKED[:i])) for i in range(len(PACKED))]


def read_all(part: Segment) -> Records:
    found, bad = part.read(Ranges([(1, 2**53)]), 10_000)
    assert not bad
    return found


def reopened(path: Path) -> tuple[Segment, int]:
    opened = Segment.open(path)
    assert opened
    return opened


@pytest.fixture
def part(tmp_path: Path) -> Segment:
    """Fifty records in five blocks."""
    part = Segment.create(tmp_path, 1, 77)
    part.append(SOME, 10)
    return part


# Blocks


@calm
@given(st.lists(records, max_size=5), st.integers(0, 9))
def test_blocks_come_back_as_they_were_packed(written: list[Records], level: int) -> None:
    packed = [segment.pack(each, level) for each in written]
    found = list(segment.blocks(b"".join(packed)))
    assert [block for _, block in found] == written
    assert [at for at, _ in found] == [sum(map(len, packed[:i])) for i in range(len(packed))]


@calm
@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_torn_tail_is_no_damage(written: list[Records], data: st.DataObject) -> None:
    last = segment.pack(written[-1])
    torn = last[: data.draw(st.integers(0, len(last) - 1))]
    found = list(segment.blocks(b"".join(map(segment.pack, written[:-1])) + torn))
    assert [block for _, block in found] == written[:-1]


def test_what_is_written_after_a_torn_block_is_read() -> None:
    for kept in range(1, len(PACKED[0])):
        found = [block for _, block in segment.blocks(PACKED[0][:kept] + PACKED[1] + PACKED[2])]
        assert [block for block in found if block is not None] == BLOCKS[1:3]


def test_any_flipped_bit_costs_its_own_block_and_no_other() -> None:
    whole = b"".join(PACKED)
    for at, bit in itertools.product(range(len(whole)), range(8)):
        data = bytearray(whole)
        data[at] ^= 1 << bit
        touched = max(i for i, start in enumerate(STARTS) if start <= at)
        found = [block for _, block in segment.blocks(bytes(data))]
        assert [block for block in found if block is not None] == BLOCKS[:touched] + BLOCKS[touched + 1 :], (at, bit)
        assert None in found or 4 <= at - STARTS[-1] < 8  # with a larger length the last one looks torn


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8))
@settings(calm, max_examples=300)
def test_several_changed_bytes_cost_at_most_the_blocks_they_touch(changes: list[tuple[float, int]]) -> None:
    data, touched = bytearray(b"".join(PACKED)), set()
    for where, mask in changes:
        at = int(where * (len(data) - 1))
        data[at] ^= mask
        touched.add(max(i for i, start in enumerate(STARTS) if start <= at))
    found = [block for _, block in segment.blocks(bytes(data)) if block is not None]
    assert [block for block in BLOCKS if block in found] == found
    assert all(block in found for i, block in enumerate(BLOCKS) if i not in touched)


@calm
@given(st.binary(max_size=300) | st.lists(st.sampled_from([MARK, PACKED[0], PACKED[1][:40], b"x"])).map(b"".join))
def test_arbitrary_bytes_never_raise_and_invent_nothing(data: bytes) -> None:
    for at, block in segment.blocks(data):
        assert 0 <= at < len(data)
        assert block in (None, BLOCKS[0])


def test_a_mark_inside_a_block_confuses_nobody() -> None:
    body = bytes(MARK * 20) + random.Random(1).randbytes(50).replace(b"\n", b"")
    packed = segment.pack({1: body}, level=0)  # not compressed: the marks stand in the file
    assert packed.count(MARK) > 20
    assert [block for _, block in segment.blocks(packed + PACKED[0])] == [{1: body}, BLOCKS[0]]
    damaged = bytearray(packed)
    damaged[-1] ^= 1
    assert [block for _, block in segment.blocks(bytes(damaged) + PACKED[0]) if block] == [BLOCKS[0]]


# All or nothing


def test_a_write_adds_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    segment.write(fd, b" after")
    os.close(fd)
    assert path.read_bytes() == b"before after"


def test_a_full_device_raises_oserror() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        segment.write(fd, b"data")
    os.close(fd)


LIMITED = """
import resource, sys
from pathlib import Path
from schoolpulse_agent import segment
from schoolpulse_agent.segment import Segment

part = Segment.create(Path(sys.argv[1]), 1, 77)
part.append({1: b"one", 2: b"two"}, 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (part.size + 20, part.size + 20))
size = part.size
for records in ({3: bytes(100)}, {n: b"%d" % n for n in range(3, 90)}):  # begins within the limit, ends beyond it
    try:
        part.append(records, 10)
    except OSError as why:
        print(why.errno, part.path.stat().st_size == size == part.size, list(part.held))
"""


def test_an_append_that_does_not_fit_leaves_the_file_and_what_is_held_as_they_were(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["True [(1, 2)]"] * 2
    part, bad = reopened(tmp_path / "00000001-77.seg")
    assert (read_all(part), bad) == ({1: b"one", 2: b"two"}, 0)


# Segments


def test_an_opened_segment_holds_what_was_appended(part: Segment) -> None:
    part.append({51: b"late"}, 10)
    again, bad = reopened(part.path)
    assert (again.number, again.epoch, again.size, bad) == (1, 77, part.path.stat().st_size, 0)
    assert again.size == part.size
    assert list(again.held) == list(part.held) == [(1, 51)]
    assert read_all(again) == read_all(part) == {**SOME, 51: b"late"}


def test_a_read_gives_the_lowest_wanted_that_are_held(part: Segment) -> None:
    part.held.discard(12, 14)
    wanted = Ranges([(8, 16), (40, 40), (99, 99)])
    assert list(part.read(wanted, 100)[0]) == [8, 9, 10, 11, 15, 16, 40]
    found, _ = part.read(wanted, 5)
    assert found == {seq: SOME[seq] for seq in (8, 9, 10, 11, 15)}


@calm
@given(at=st.integers(0, len(b"".join(PACKED)) - 1))
def test_a_damaged_block_is_given_up_and_the_others_are_read(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    part = Segment.create(tmp_path_factory.mktemp("segment"), 1, 77)
    part.append(SOME, 10)
    data = bytearray(part.path.read_bytes())
    data[at] ^= 0xFF
    part.path.write_bytes(data)
    touched = max(i for i, start in enumerate(STARTS) if start <= at)
    rest = {seq: body for seq, body in SOME.items() if seq not in BLOCKS[touched]}

    again, bad = reopened(part.path)
    assert read_all(again) == rest
    assert bad or touched == len(BLOCKS) - 1

    found, bad = part.read(Ranges([(1, 50)]), 100)  # damaged after it was written
    assert (found, bad) == (rest, 1)
    assert list(part.held.numbers()) == sorted(rest)
    assert read_all(part) == rest  # counted once


def test_a_file_that_can_not_be_read_now_gives_nothing_up(part: Segment) -> None:
    moved = part.path.rename(part.path.with_suffix(".away"))
    assert part.read(Ranges([(1, 50)]), 100) == ({}, 0)
    moved.rename(part.path)
    assert read_all(part) == SOME


@pytest.mark.parametrize("name", ["notes.seg", "1-x.seg", "x-1.seg", "-.seg", "1.seg"])
def test_a_file_of_another_name_is_not_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[0])
    assert Segment.open(tmp_path / name) is None


def test_an_empty_file_is_an_empty_segment(tmp_path: Path) -> None:
    part, bad = reopened(Segment.create(tmp_path, 3, 5).path)
    assert (len(part.held), part.size, bad) == (0, 0, 0)


def test_a_discarded_segment_is_gone_and_discarding_it_again_is_no_error(part: Segment) -> None:
    part.discard()
    assert not part.path.exists()
    part.discard()


def test_the_header_is_as_documented() -> None:
    mark, size, _, count = HEAD.unpack_from(PACKED[0])
    assert (mark, size, count) == (b"SPB1", len(PACKED[0]) - HEAD.size, 10)
