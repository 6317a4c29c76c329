"""The spool: what append returned from is there after a kill, and every reader gets every record once, in order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolpulse_agent import segment
from schoolpulse_collector.spool import Place, Spool

WRITER = """
import sys
from pathlib import Path
from schoolpulse_collector.spool import Spool

spool, number = Spool(Path(sys.argv[1]), segment_bytes=20_000), int(sys.argv[2])
while True:
    spool.append([b"%d " % n + b"x" * (n * 37 % 900) for n in range(number, number + 10)])
    number += 10
    print(number - 1, flush=True)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def read(spool: Spool, place: Place | None = None) -> list[bytes]:
    return [record for records, _ in spool.read(place or spool.start()) for record in records]


def places(spool: Spool) -> list[Place]:
    """The place after each block."""
    return [place for _, place in spool.read(spool.start())]


def newest_file(spool: Spool) -> Path:
    return max(spool.folder.iterdir())


def test_an_empty_spool_has_nothing_to_read(spool: Spool) -> None:
    assert read(spool) == []
    assert spool.bytes_after(spool.start()) == 0


def test_records_are_read_as_they_were_appended(spool: Spool) -> None:
    spool.append([b"a", b"b"])
    spool.append([b"c"])
    assert read(spool) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("record", ["Trường Tiểu học".encode(), b"", b" ", b"7 8", b"\x00\xff", segment.MARK])
def test_any_bytes_without_a_newline_come_back(spool: Spool, record: bytes) -> None:
    spool.append([b"before", record, b"after"])
    assert read(spool) == [b"before", record, b"after"]


def test_a_reader_goes_on_from_the_place_it_was_given(spool: Spool) -> None:
    spool.append([b"a"])
    (place,) = places(spool)
    assert read(spool, place) == []
    spool.append([b"b"])
    assert read(spool, place) == [b"b"]


def test_after_a_reopen_old_places_still_hold_and_appends_go_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([b"a"])
    (place,) = places(spool)
    spool.append([b"b"])
    spool.close()
    spool = Spool(tmp_path)
    spool.append([b"c"])
    assert read(spool) == [b"a", b"b", b"c"]
    assert read(spool, place) == [b"b", b"c"]


def test_what_append_returned_from_survives_kill_nine(tmp_path: Path) -> None:
    chance, known = random.Random(1), 0
    for _ in range(10):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(known + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            printed = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.15))
            writer.kill()
            printed += writer.stdout.readlines()
        promised = int([line for line in printed if line.endswith(b"\n")][-1])
        spool = Spool(tmp_path)
        numbers = [int(record.split()[0]) for record in read(spool)]
        spool.close()
        assert promised > known
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= promised
        known = len(numbers)


@pytest.mark.parametrize("left", [0, 1, segment.HEAD.size - 1, segment.HEAD.size, segment.HEAD.size + 1, -1])
def test_a_torn_tail_is_cut_off_at_reopen_and_appends_go_on(tmp_path: Path, left: int) -> None:
    spool = Spool(tmp_path)
    spool.append([b"a"])
    whole = newest_file(spool).stat().st_size
    spool.append([b"torn" * 50])
    spool.close()
    file = newest_file(spool)
    block = file.read_bytes()[whole:]
    os.truncate(file, whole + len(block[:left]))
    spool = Spool(tmp_path)
    assert file.stat().st_size == whole
    spool.append([b"b"])
    assert read(spool) == [b"a", b"b"]
    assert spool.damaged == 0


def test_a_file_that_was_made_and_not_written_yet_is_used_after_a_kill(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1)
    spool.append([b"a"])
    spool.close()
    (tmp_path / f"{2:020d}.spool").touch()
    spool = Spool(tmp_path, segment_bytes=1)
    spool.append([b"b"])
    spool.append([b"c"])
    assert read(spool) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("reopen", [True, False])
@pytest.mark.parametrize("at", [0, 4, 7, 8, 12, segment.HEAD.size, -1])
def test_a_damaged_block_is_skipped_and_counted_and_its_neighbours_are_read(
    tmp_path: Path, at: int, reopen: bool
) -> None:
    spool, ends = Spool(tmp_path), []
    for record in (b"before", b"damaged", b"after"):
        spool.append([record])
        ends.append(newest_file(spool).stat().st_size)
    data = bytearray(newest_file(spool).read_bytes())
    data[(ends[0] if at >= 0 else ends[1]) + at] ^= 0x55
    newest_file(spool).write_bytes(data)
    if reopen:
        spool.close()
        spool = Spool(tmp_path)
    assert read(spool) == [b"before", b"after"]
    assert spool.damaged == 1
    spool.append([b"later"])
    assert read(spool)[-1] == b"later"


def test_a_damaged_block_at_the_end_is_counted_once_however_often_a_reader_comes_back(spool: Spool) -> None:
    spool.append([b"good"])
    end = newest_file(spool).stat().st_size
    spool.append([b"damaged"])
    data = bytearray(newest_file(spool).read_bytes())
    data[end + segment.HEAD.size] ^= 0x55
    newest_file(spool).write_bytes(data)
    place = spool.start()
    for _ in range(3):  # as the shipper does each second
        for _, after in spool.read(place):
            place = after
    assert spool.damaged == 1


def test_a_full_file_is_followed_by_the_next_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1000)
    sent = [random.Random(n).randbytes(300).hex().encode() for n in range(20)]
    for record in sent:
        spool.append([record])
    assert len(list(tmp_path.iterdir())) > 3
    assert read(spool) == sent
    spool.close()


def test_release_deletes_only_whole_files_before_the_place(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=200)
    sent = [b"%03d" % n + random.Random(n).randbytes(60).hex().encode() for n in range(30)]
    for record in sent:
        spool.append([record])
    for number, place in enumerate(places(spool), 1):
        files = set(tmp_path.iterdir())
        spool.release(place)
        gone = files - set(tmp_path.iterdir())
        assert all(int(path.stem) < place.first for path in gone)
        assert not [path for path in tmp_path.iterdir() if int(path.stem) < place.first]
        assert read(spool, place) == sent[number:]
    assert len(list(tmp_path.iterdir())) == 1
    spool.close()


def test_a_released_spool_goes_on_with_its_numbers_after_a_reopen(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1)
    for record in (b"a", b"b", b"c"):
        spool.append([record])
    spool.release(places(spool)[-1])
    spool.close()
    spool = Spool(tmp_path, segment_bytes=1)
    spool.append([b"d"])
    assert read(spool) == [b"c", b"d"]
    assert [int(path.stem) for path in sorted(tmp_path.iterdir())] == [3, 4]


SMALL = st.integers(0, 40)
LARGE = st.integers(200_000, 500_000)  # three of them make more than one block
BATCHES = st.lists(
    st.tuples(st.lists(SMALL | SMALL | LARGE, min_size=1, max_size=5), st.sampled_from(["", "reader", "reopen"])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.sampled_from([1, 300, 400_000]))
def test_from_any_place_every_later_record_is_read_once_in_order(
    batches: list[tuple[list[int], str]], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), segment_bytes)
        taken, sent = {spool.start(): 0}, list[bytes]()
        for sizes, then in batches:
            batch = [random.Random(len(sent) + i).randbytes(size).hex().encode()[:size] for i, size in enumerate(sizes)]
            spool.append(batch)
            sent += batch
            if then == "reopen":
                spool.close()
                spool = Spool(Path(folder), segment_bytes)
            elif then == "reader":
                place, count = max(taken.items())
                for records, after in spool.read(place):
                    count += len(records)
                    taken[after] = count
        for place, count in taken.items():
            assert read(spool, place) == sent[count:]
        spool.close()


def test_one_append_of_much_makes_several_blocks_that_are_all_there(spool: Spool) -> None:
    sent = [random.Random(n).randbytes(200_000).hex().encode() for n in range(8)]
    spool.append(sent)
    assert len(places(spool)) > 2
    assert read(spool) == sent


def test_a_reader_beside_the_writer_gets_everything_once(tmp_path: Path) -> None:
    spool, got, count = Spool(tmp_path, segment_bytes=2000), list[bytes](), 400
    sent = [b"%d " % n + random.Random(n).randbytes(50).hex().encode() for n in range(count)]
    errors = list[BaseException]()

    def follow() -> None:
        place, end = spool.start(), time.monotonic() + 20
        try:
            while len(got) < count and time.monotonic() < end:
                for records, after in spool.read(place):
                    got.extend(records)
                    place = after
                spool.release(place)
        except BaseException as why:
            errors.append(why)

    reader = threading.Thread(target=follow)
    reader.start()
    for at in range(0, count, 2):
        spool.append(sent[at : at + 2])
    reader.join()
    spool.close()
    assert errors == []
    assert got == sent


@pytest.mark.parametrize("segment_bytes", [1, 2**20])
def test_a_full_disk_leaves_nothing_half_written_and_a_retry_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_bytes: int
) -> None:
    def full(_fd: int, _data: bytes) -> None:
        raise OSError(28, "no space left on device")

    spool = Spool(tmp_path, segment_bytes)
    spool.append([b"a"])
    with monkeypatch.context() as patch:
        patch.setattr(segment, "write", full)
        for _ in range(2):
            with pytest.raises(OSError):
                spool.append([b"b", b"c"])
    assert read(spool) == [b"a"]
    spool.append([b"b", b"c"])
    assert read(spool) == [b"a", b"b", b"c"]
    spool.close()
    assert read(Spool(tmp_path, segment_bytes)) == [b"a", b"b", b"c"]


def test_a_disk_that_takes_half_or_does_not_sync_leaves_nothing_half_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def half(fd: int, data: bytes) -> int:
        return real(fd, data[: len(data) // 2])

    def failing(_fd: int) -> None:
        raise OSError(5, "input/output error")

    spool.append([b"a"])
    size = newest_file(spool).stat().st_size
    for name, broken in (("write", half), ("fdatasync", failing)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, broken)
            with pytest.raises(OSError):
                spool.append([b"b" * 100])
        assert newest_file(spool).stat().st_size == size
    spool.append([b"b"])
    assert read(spool) == [b"a", b"b"]


def test_bytes_after_tells_what_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1)
    for record in (b"a", b"b", b"c"):
        spool.append([record])
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert spool.bytes_after(spool.start()) == sum(sizes)
    assert [spool.bytes_after(place) for place in places(spool)] == [sum(sizes[1:]), sizes[2], 0]
    spool.close()
