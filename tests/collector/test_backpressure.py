"""When more comes in than can be stored, backlog slows, then waits; then the spool takes nothing more for a while."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from schoolpulse_collector.backpressure import LOOK_EVERY, Backpressure, Load
from schoolpulse_collector.spool import Place, Spool

MB = 2**20


def rate(inbox: float, spool: int, normal: float = 2.0) -> float:
    return Backpressure(normal, lambda: Load(inbox, spool)).replay_rate()


@pytest.mark.parametrize(
    ("inbox", "spool", "expected"),
    [
        (0.0, 0, 2.0),
        (0.24, 64 * MB - 1, 2.0),
        (0.25, 0, 0.2),
        (0.0, 64 * MB, 0.2),
        (0.49, 512 * MB - 1, 0.2),
        (0.5, 0, 0.0),
        (0.0, 512 * MB, 0.0),
        (0.5, 64 * MB, 0.0),  # the harder of the two counts
        (0.25, 512 * MB, 0.0),
        (1.2, 10**12, 0.0),
    ],
)
def test_backlog_slows_and_then_pauses_as_inbox_or_spool_fill(inbox: float, spool: int, expected: float) -> None:
    assert rate(inbox, spool) == pytest.approx(expected)


def test_a_normal_rate_of_nothing_stays_nothing() -> None:
    assert rate(0.0, 0, normal=0.0) == rate(0.3, 0, normal=0.0) == 0.0


def test_it_speeds_up_again_when_the_load_is_gone_and_looks_once_a_second_at_most() -> None:
    now, looks, load = [0.0], list[float](), [Load(0.9, 0)]

    def look() -> Load:
        looks.append(now[0])
        return load[0]

    asked = Backpressure(1.0, look, lambda: now[0])
    assert asked.replay_rate() == 0.0
    load[0] = Load(0.0, 0)
    now[0] = LOOK_EVERY - 0.01
    assert [asked.replay_rate() for _ in range(100)] == [0.0] * 100
    now[0] = LOOK_EVERY
    assert asked.replay_rate() == 1.0
    assert looks == [0.0, LOOK_EVERY]


# The spool's bound.

KEEP, SEGMENT = 20_000, 2000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", segment_bytes=SEGMENT, keep_bytes=KEEP)
    yield made
    made.close()


def some(number: int) -> bytes:
    return b"%d " % number + random.Random(number).randbytes(200).hex().encode()


def fill(spool: Spool, number: int = 0) -> int:
    """Append from this number on until the spool takes nothing; return the number that it refused."""
    for at in range(number, number + 1000):
        try:
            spool.append([some(at)])
        except OSError as why:
            assert why.errno == errno.EDQUOT
            return at
    raise AssertionError("it has no bound")


def read(spool: Spool) -> list[tuple[list[bytes], Place]]:
    return list(spool.read(spool.start()))


def numbers(spool: Spool) -> list[int]:
    return [int(record.split()[0]) for records, _ in read(spool) for record in records]


def test_past_its_bound_the_spool_keeps_nothing_more_and_loses_nothing(spool: Spool) -> None:
    refused = fill(spool)
    for _ in range(3):
        assert fill(spool, refused) == refused
    assert numbers(spool) == list(range(refused))
    size = sum(path.stat().st_size for path in spool.folder.iterdir())
    assert KEEP - 2 * SEGMENT < size <= KEEP


def test_what_was_refused_is_taken_once_the_store_has_taken_some(spool: Spool) -> None:
    first = fill(spool)
    blocks = read(spool)
    spool.release(blocks[len(blocks) // 2][1])
    second = fill(spool, first)
    assert second - first >= len(blocks) // 4
    assert numbers(spool)[-1] == second - 1
    spool.release(read(spool)[-1][1])
    third = fill(spool, second)
    assert third - second >= len(blocks) // 2
    assert numbers(spool) == list(range(numbers(spool)[0], third))


def test_a_full_spool_is_full_after_a_reopen_too_and_reads_as_before(spool: Spool) -> None:
    refused = fill(spool)
    spool.close()
    again = Spool(spool.folder, segment_bytes=SEGMENT, keep_bytes=KEEP)
    assert fill(again, refused) == refused
    assert numbers(again) == list(range(refused))
    again.release(read(again)[-1][1])
    assert fill(again, refused) > refused
    again.close()
