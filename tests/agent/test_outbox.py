"""The outbox holds every report until a receipt names it: through kill -9, restarts, damage and full disks."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schoolpulse_agent import outbox as module
from schoolpulse_agent import segment
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.segment import Segment
from schoolpulse_agent.wire import Groups, Report, encode_report

M: Groups = {"cpu,cpu=cpu-total": {"usage_active": 3.1}}
Contents = dict[tuple[int, int], bytes]  # (epoch, seq) -> record


class Clock:
    """Stands still until told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """Where one outbox lives, start after start."""

    def __init__(self, home: Path) -> None:
        self.disk, self.live = home / "disk", home / "live"
        self.clock = Clock()

    def start(self, keep_bytes: int = 4 * 2**20) -> Outbox:
        self.live.mkdir(exist_ok=True)
        return Outbox(self.disk, live_folder=self.live, keep_bytes=keep_bytes, clock=self.clock)

    def segments(self) -> list[Path]:
        return sorted(self.disk.glob("*.seg"))

    def written_by_earlier_starts(self, counts: list[int]) -> None:
        """One segment for each count."""
        for count in counts:
            outbox = self.start()
            fill(outbox, count)
            outbox.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fill(outbox: Outbox, count: int) -> list[int]:
    return [outbox.append(1795449600000 + n, float(n), M) for n in range(count)]


def record(seq: int, n: int) -> bytes:
    """What ``fill`` kept under this seq."""
    return encode_report(Report(seq, 1795449600000 + n, float(n), M))


def noise(seed: int, values: int = 200) -> Groups:
    """Hardly shrinks when zipped: about 2 kB."""
    source = random.Random(seed)
    return {"noise": {f"f{n}": source.random() for n in range(values)}}


def contents(outbox: Outbox) -> Contents:
    return {
        (epoch, seq): body
        for epoch, ranges in outbox.held().items()
        for seq, body in outbox.read(epoch, ranges, 10**6).items()
    }


def count(outbox: Outbox) -> int:
    return sum(map(len, outbox.held().values()))


# Until a receipt names it


def test_every_report_is_held_until_a_receipt_names_it(place: Place) -> None:
    outbox = place.start()
    assert (outbox.held(), outbox.low(outbox.epoch)) == ({}, 1)
    assert fill(outbox, 3) == [1, 2, 3]
    assert contents(outbox) == {(outbox.epoch, seq): record(seq, seq - 1) for seq in (1, 2, 3)}
    assert outbox.low(outbox.epoch) == 1
    outbox.receipt({outbox.epoch: Ranges([(1, 2)])})
    assert (list(contents(outbox)), outbox.low(outbox.epoch)) == ([(outbox.epoch, 3)], 3)
    outbox.receipt({outbox.epoch: Ranges([(3, 3)])})
    assert (contents(outbox), outbox.low(outbox.epoch)) == ({}, 4)
    assert fill(outbox, 1) == [4]


@pytest.mark.parametrize("spilled", [False, True], ids=["in tmpfs", "on disk"])
def test_a_receipt_deletes_exactly_the_ranges_it_names(place: Place, spilled: bool) -> None:
    outbox = place.start()
    fill(outbox, 30)
    if spilled:
        outbox.spill()
    outbox.receipt({outbox.epoch: Ranges([(2, 4), (10, 10), (29, 900)]), outbox.epoch ^ 1: Ranges([(1, 30)])})
    assert outbox.held() == {outbox.epoch: Ranges([(1, 1), (5, 9), (11, 28)])}
    assert [seq for _, seq in contents(outbox)] == [1, *range(5, 10), *range(11, 29)]
    outbox.receipt({outbox.epoch: Ranges([(1, 1)])})
    assert outbox.low(outbox.epoch) == 5


def test_a_segment_goes_with_its_last_report(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 20)
    outbox.spill()
    outbox.receipt({outbox.epoch: Ranges([(1, 19)])})
    assert place.segments()
    outbox.receipt({outbox.epoch: Ranges([(20, 20)])})
    assert not place.segments()


def test_a_read_gives_the_lowest_wanted_across_disk_and_tmpfs(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 25)
    outbox.spill()
    fill(outbox, 5)
    assert list(outbox.read(outbox.epoch, Ranges([(1, 30)]), 60)) == list(range(1, 31))
    assert list(outbox.read(outbox.epoch, Ranges([(3, 4), (24, 99)]), 5)) == [3, 4, 24, 25, 26]
    assert outbox.read(outbox.epoch ^ 1, Ranges([(1, 30)]), 60) == {}


def test_what_a_child_says_is_kept_as_the_childs(place: Place) -> None:
    outbox = place.start()
    outbox.append(5, 1.0, M, child="printer-1")
    assert contents(outbox) == {(outbox.epoch, 1): encode_report(Report(1, 5, 1.0, M, "printer-1"))}


# When the disk is written


def test_nothing_is_on_disk_while_receipts_come(place: Place) -> None:
    outbox = place.start()
    for _ in range(100):
        fill(outbox, 1)
        outbox.tick()
        assert not place.segments()
        place.clock.now += 1
        outbox.receipt(outbox.held())
        place.clock.now += 59
    assert sum(path.stat().st_size for path in place.live.iterdir()) == 0


def test_nothing_is_on_disk_while_each_receipt_comes_one_report_late(place: Place) -> None:
    outbox = place.start()
    for _ in range(1300):  # a report a second; none waits longer than two
        (seq,) = fill(outbox, 1)
        outbox.tick()
        place.clock.now += 1
        assert not place.segments()
        outbox.receipt({outbox.epoch: Ranges([(1, seq - 1)])})


def test_after_60_s_without_a_receipt_ten_reports_go_to_disk(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 10)
    place.clock.now += 59.9
    outbox.tick()
    assert not place.segments()
    place.clock.now += 0.1
    outbox.tick()
    assert len(place.segments()) == 1
    assert sum(path.stat().st_size for path in place.live.iterdir()) == 0
    assert count(outbox) == 10


def test_less_than_a_block_waits_600_s(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 9)
    for _ in range(9):
        place.clock.now += 66
        outbox.tick()
    assert not place.segments()
    place.clock.now += 6
    outbox.tick()
    assert len(place.segments()) == 1


def test_a_report_a_minute_without_receipts_is_on_disk_in_blocks_of_ten(place: Place) -> None:
    outbox = place.start()
    for _ in range(60):
        fill(outbox, 1)
        outbox.tick()
        place.clock.now += 60
    (path,) = place.segments()
    assert [len(block or {}) for _, block in segment.blocks(path.read_bytes())] == [10] * 6


def test_a_full_segment_is_followed_by_another_and_reads_go_across(place: Place) -> None:
    outbox = place.start(keep_bytes=10**7)
    for seed in range(400):
        outbox.append(1, 1.0, noise(seed))
        if seed % 50 == 49:
            outbox.spill()
    assert len(place.segments()) > 1
    assert all(path.stat().st_size < module.SEGMENT_BYTES + 200_000 for path in place.segments())
    assert [seq for _, seq in contents(outbox)] == list(range(1, 401))


# Starts and stops


def test_a_clean_stop_puts_everything_on_disk_for_the_next_start(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 25)
    outbox.spill()
    fill(outbox, 3)
    before = contents(outbox)
    outbox.close()
    shutil.rmtree(place.live, ignore_errors=True)  # the power switch
    after = place.start()
    assert contents(after) == before
    assert after.epoch != outbox.epoch
    assert (after.dropped, after.damaged) == (0, 0)


@pytest.mark.parametrize("reports", [0, 3])
def test_a_clean_stop_leaves_nothing_in_tmpfs(place: Place, reports: int) -> None:
    outbox = place.start()
    fill(outbox, reports)
    outbox.close()
    assert not place.live.exists()


@pytest.mark.parametrize("reports", [0, 3])
def test_closing_an_empty_outbox_leaves_its_own_folder(tmp_path: Path, reports: int) -> None:
    outbox = Outbox(tmp_path / "disk", live_folder=tmp_path / "disk")  # as where there is no tmpfs
    fill(outbox, reports)
    outbox.receipt(outbox.held())
    outbox.close()
    assert (tmp_path / "disk").is_dir()


def test_a_live_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "disk", live_folder=tmp_path / "run" / "live")
    fill(outbox, 1)
    assert any((tmp_path / "run" / "live").iterdir())


def test_each_start_has_an_epoch_of_its_own_and_sends_older_reports_under_theirs(place: Place) -> None:
    starts = []
    for _ in range(4):
        outbox = place.start()
        assert fill(outbox, 2) == [1, 2]  # seq counts from 1 in each
        starts.append(outbox.epoch)
        outbox.close()
    outbox = place.start()
    fill(outbox, 1)
    assert len({*starts, outbox.epoch}) == 5
    assert list(outbox.held()) == [*starts, outbox.epoch]  # the oldest first
    assert [len(ranges) for ranges in outbox.held().values()] == [2, 2, 2, 2, 1]
    outbox.receipt({starts[1]: Ranges([(1, 2)])})
    assert list(outbox.held()) == [starts[0], *starts[2:], outbox.epoch]


def test_what_a_killed_start_left_in_tmpfs_is_taken_up_and_goes_to_disk_in_time(place: Place) -> None:
    killed = place.start()
    fill(killed, 12)  # and never closed
    outbox = place.start()
    assert outbox.held() == {killed.epoch: Ranges([(1, 12)])}
    place.clock.now += 60
    outbox.tick()
    assert [path.name for path in place.segments()] == [f"00000001-{killed.epoch}.seg"]
    assert contents(outbox) == contents(killed)
    outbox.receipt({killed.epoch: Ranges([(1, 12)])})
    assert (outbox.held(), place.segments()) == ({}, [])


def test_what_was_taken_up_from_tmpfs_and_receipted_does_not_come_again(place: Place) -> None:
    killed = place.start()
    fill(killed, 3)
    outbox = place.start()
    fill(outbox, 1)
    outbox.receipt({killed.epoch: Ranges([(1, 3)])})
    assert place.start().held() == {outbox.epoch: Ranges([(1, 1)])}


def test_a_torn_tail_in_tmpfs_is_no_damage(place: Place) -> None:
    fill(place.start(), 3)
    (path,) = place.live.iterdir()
    os.truncate(path, path.stat().st_size - 3)
    outbox = place.start()
    assert ([seq for _, seq in contents(outbox)], outbox.damaged) == ([1, 2], 0)


def test_reports_wait_in_a_private_folder_of_the_runtime_directory(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    fill(Outbox(place.disk), 1)
    (path,) = tmp_path.glob("*/*.live")
    assert path.parent != place.disk
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


KILLED = """
import sys
from pathlib import Path
from schoolpulse_agent.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]), live_folder=Path(sys.argv[2]))
while True:
    seq = outbox.append(1795449600000, 0.0, {"cpu,cpu=cpu-total": {"usage_active": 3.1}})
    print(outbox.epoch, seq, flush=True)
    if seq % 60 == 0:
        outbox.spill()
"""


def test_whatever_append_returned_survives_kill_9(place: Place) -> None:
    place.live.mkdir()
    moments = random.Random(20)
    told: Contents = {}
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, place.disk, place.live], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout
            lines = [child.stdout.readline()]
            time.sleep(moments.uniform(0, 0.06))
            child.kill()
            lines += child.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                epoch, seq = map(int, line.split())
                told[epoch, seq] = record(seq, 0)
        outbox = place.start()
        held = contents(outbox)
        assert told.items() <= held.items()
        assert (outbox.damaged, outbox.dropped) == (0, 0)
    assert len(told) > 200
    assert len({epoch for epoch, _ in told}) == 12


# Bounds and damage


def test_when_the_bound_is_reached_the_oldest_go_and_are_counted(place: Place) -> None:
    outbox = place.start(keep_bytes=600_000)
    for seed in range(1200):
        seq = outbox.append(1, 1.0, noise(seed, 100))
        if seed % 20 == 19:
            outbox.spill()
            assert sum(path.stat().st_size for path in place.segments()) <= 600_000
            assert outbox.held() == {outbox.epoch: Ranges([(outbox.dropped + 1, seq)])}
    assert outbox.dropped > 100
    assert outbox.low(outbox.epoch) == outbox.dropped + 1
    assert count(outbox) + outbox.dropped == 1200
    before = contents(outbox)
    outbox.close()
    assert contents(place.start()) == before


def test_a_damaged_block_is_counted_and_the_rest_is_read(place: Place) -> None:
    place.written_by_earlier_starts([30])
    (path,) = place.segments()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    outbox = place.start()
    assert outbox.damaged == 1
    assert [seq for _, seq in contents(outbox)] == [*range(1, 11), *range(21, 31)]


def test_damage_after_the_start_is_counted_once_and_given_up(place: Place) -> None:
    place.written_by_earlier_starts([30])
    outbox = place.start()
    (path,) = place.segments()
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    for _ in range(2):
        assert [seq for _, seq in contents(outbox)] == list(range(11, 31))
        assert outbox.damaged == 1
    assert count(outbox) == 20


def test_a_damaged_file_in_tmpfs_is_counted_and_the_rest_is_read(place: Place) -> None:
    fill(place.start(), 3)
    (path,) = place.live.iterdir()
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    outbox = place.start()
    assert ([seq for _, seq in contents(outbox)], outbox.damaged) == ([2, 3], 1)


def test_a_segment_of_which_nothing_can_be_read_takes_no_room_from_good_ones(place: Place) -> None:
    place.written_by_earlier_starts([30, 30])
    worn, good = place.segments()
    outbox = place.start(keep_bytes=int(2.5 * good.stat().st_size))
    worn.write_bytes(bytes(worn.stat().st_size))
    contents(outbox)
    fill(outbox, 30)
    outbox.spill()  # a third of the same size
    assert (outbox.dropped, count(outbox)) == (0, 60)


def test_files_of_others_are_left_alone(place: Place) -> None:
    place.disk.mkdir()
    for name in ("notes.txt", "notes.seg", "1.seg.bak"):
        (place.disk / name).write_text("mine")
    outbox = place.start(keep_bytes=1)
    for _ in range(3):
        fill(outbox, 10)
        outbox.spill()
    outbox.receipt(outbox.held())
    outbox.close()
    assert sorted(path.name for path in place.disk.iterdir()) == ["1.seg.bak", "notes.seg", "notes.txt"]


# A disk that takes nothing


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def test_without_a_disk_a_bounded_ring_stays_in_memory_and_the_loss_is_counted(place: Place) -> None:
    outbox = place.start()
    place.disk.rmdir()  # as when it is unmounted
    for n in range(1, 1501):
        fill(outbox, 1)
        if n % 100 == 0:
            outbox.spill()
            assert count(outbox) + outbox.dropped == n
    assert outbox.held() == {outbox.epoch: Ranges([(1501 - module.RING, 1500)])}
    before = contents(outbox)
    assert len(before) == module.RING
    place.disk.mkdir()  # and when it is back
    outbox.close()
    assert contents(place.start()) == before


def test_without_a_disk_the_file_in_tmpfs_is_bounded_too(place: Place) -> None:
    outbox = place.start()
    place.disk.rmdir()
    sizes = []
    for _ in range(8):
        fill(outbox, module.RING)
        outbox.spill()
        sizes.append(sum(path.stat().st_size for path in place.live.iterdir()))
    assert sizes[-1] <= 2.5 * sizes[0]


def test_without_a_disk_tmpfs_holds_the_ring_and_what_follows_through_kill_9(place: Place) -> None:
    outbox = place.start()
    place.disk.rmdir()
    fill(outbox, module.RING + 50)
    outbox.spill()
    fill(outbox, 5)
    before = contents(outbox)
    assert next(iter(before)) == (outbox.epoch, 51)
    assert contents(place.start()) == before  # the first one was never closed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_when_neither_tmpfs_nor_disk_takes_anything_reports_stay_in_memory(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    outbox = place.start()
    with monkeypatch.context() as patch:
        patch.setattr(segment, "write", lambda *_: refuse(number))
        fill(outbox, 50)
        place.clock.now += 60
        outbox.tick()
        assert [seq for _, seq in contents(outbox)] == list(range(1, 51))
        outbox.receipt({outbox.epoch: Ranges([(1, 40)])})
        assert outbox.held() == {outbox.epoch: Ranges([(41, 50)])}
    place.clock.now += 600
    outbox.tick()  # it works again
    outbox.close()
    assert [seq for _, seq in contents(place.start())] == list(range(41, 51))


def test_when_no_file_can_be_opened_reports_stay_in_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = place.start()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_, **__: refuse(errno.EMFILE))
        fill(outbox, 50)
        outbox.spill()
        assert count(outbox) == 50
    outbox.close()
    assert count(place.start()) == 50


def test_a_disk_too_full_to_stop_cleanly_leaves_the_reports_in_tmpfs_for_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = place.start()
    fill(outbox, 5)
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "append", lambda *_: refuse(errno.ENOSPC))
        outbox.close()
    after = place.start()
    assert after.held() == {outbox.epoch: Ranges([(1, 5)])}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.EMFILE])
def test_a_disk_that_can_not_be_written_costs_nothing_that_is_already_on_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place.written_by_earlier_starts([20, 20, 20])
    outbox = place.start()
    fill(outbox, 10)
    monkeypatch.setattr(Segment, "append", lambda *_: refuse(number))
    outbox.spill()
    assert (outbox.dropped, count(outbox)) == (0, 70)


def test_a_full_disk_costs_no_more_than_the_one_segment_given_up_for_the_second_try(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.written_by_earlier_starts([20, 20, 20])
    outbox = place.start()
    fill(outbox, 10)
    monkeypatch.setattr(Segment, "append", lambda *_: refuse(errno.ENOSPC))
    outbox.spill()
    assert count(outbox) + outbox.dropped == 70
    assert outbox.dropped <= 20


def test_on_a_full_disk_the_oldest_make_room_for_the_newest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.written_by_earlier_starts([20, 30])
    outbox = place.start()
    real, oldest = Segment.append, place.segments()[0]

    def append(part: Segment, records: segment.Records, count: int) -> None:
        if oldest.exists():
            refuse(errno.ENOSPC)
        real(part, records, count)

    monkeypatch.setattr(Segment, "append", append)
    fill(outbox, 10)
    outbox.close()
    assert outbox.dropped == 20
    assert [len(ranges) for ranges in place.start().held().values()] == [30, 10]


# Anything in any order


class Machine(RuleBasedStateMachine):
    """An outbox against a plain dict."""

    @initialize()
    def begin(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.place = Place(Path(self.home.name))
        self.outbox = self.place.start()
        self.model: Contents = {}
        self.ever: Contents = {}

    @rule(how_many=st.integers(1, 25), value=st.floats(0, 100))
    def append(self, how_many: int, value: float) -> None:
        for _ in range(how_many):
            m = {"cpu": {"usage": value}}
            seq = self.outbox.append(5, 1.0, m)
            key = (self.outbox.epoch, seq)
            assert key not in self.ever
            self.model[key] = self.ever[key] = encode_report(Report(seq, 5, 1.0, m))

    @rule(data=st.data(), ranges=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30)), max_size=4))
    def receipt(self, data: st.DataObject, ranges: list[tuple[int, int]]) -> None:
        epochs = sorted({epoch for epoch, _ in self.ever})
        epoch = data.draw(st.sampled_from([*epochs, 7]))
        named = Ranges((first, first + more) for first, more in ranges)
        self.outbox.receipt({epoch: named})
        self.model = {key: body for key, body in self.model.items() if not (key[0] == epoch and key[1] in named)}

    @rule()
    def receipt_for_all(self) -> None:
        self.outbox.receipt(self.outbox.held())
        self.model = {}

    @rule()
    def spill(self) -> None:
        self.outbox.spill()

    @rule(seconds=st.sampled_from([1, 30, 60, 600]))
    def wait(self, seconds: int) -> None:
        self.place.clock.now += seconds
        self.outbox.tick()

    @rule(clean=st.booleans())
    def start_again(self, clean: bool) -> None:
        if clean:
            self.outbox.close()
        elif self.outbox._live_fd is not None:
            os.close(self.outbox._live_fd)  # as the end of a killed process does
        self.outbox = self.place.start()
        held = contents(self.outbox)
        assert self.model.items() <= held.items() <= self.ever.items()  # a receipted one may come again, unchanged
        self.model = held

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "model"):
            return
        assert contents(self.outbox) == self.model
        assert count(self.outbox) == len(self.model)
        assert (self.outbox.dropped, self.outbox.damaged) == (0, 0)
        for epoch in {epoch for epoch, _ in self.model}:
            assert self.outbox.low(epoch) == min(seq for of, seq in self.model if of == epoch)

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.outbox.close()
            self.home.cleanup()


TestAnythingInAnyOrder = Machine.TestCase
TestAnythingInAnyOrder.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def killed_in_restamp(folder: str, live: str) -> None:
    outbox = Outbox(Path(folder), Path(live))
    fill(outbox, 50)
    outbox.spill()
    fill(outbox, 5)
    rewrite = outbox._rewrite_live
    outbox._rewrite_live = lambda epoch: (rewrite(epoch), os.kill(os.getpid(), signal.SIGKILL))
    outbox.restamp(1000)


def test_a_kill_while_times_are_put_right_loses_nothing(tmp_path: Path) -> None:
    folders = (str(tmp_path / "outbox"), str(tmp_path / "live"))
    process = multiprocessing.get_context("fork").Process(target=killed_in_restamp, args=folders)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    again = Outbox(Path(folders[0]), Path(folders[1]))
    assert sum(map(len, again.held().values())) == 55


def test_reports_that_can_not_be_read_just_then_keep_their_time_and_are_kept(place: Place, monkeypatch) -> None:
    outbox = place.start()
    fill(outbox, 50)
    outbox.spill()

    def fails(_path: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(Path, "read_bytes", fails)
        outbox.restamp(1000)
    assert count(outbox) == 50
    outbox.close()
    assert count(place.start()) == 50


def test_times_that_were_put_right_on_disk_stay_on_disk(place: Place) -> None:
    outbox = place.start()
    fill(outbox, 50)
    outbox.spill()
    before = {seq: json.loads(body)["t"] for seq, body in outbox.read(outbox.epoch, Ranges([(1, 50)]), 50).items()}
    outbox.restamp(1000)
    assert not list(place.live.glob("*.live")) or not any(path.stat().st_size for path in place.live.glob("*.live"))
    after = {seq: json.loads(body)["t"] for seq, body in outbox.read(outbox.epoch, Ranges([(1, 50)]), 50).items()}
    assert after == {seq: t + 1000 for seq, t in before.items()}
