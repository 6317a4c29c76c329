"""While days are closed somebody asks, somebody kills, the disk gets full: each row is there once all the same."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dayrecords import D0, DAY, T, answers, evening, hot, record, seqs, some

from schoolpulse_collector.series import Series
from schoolpulse_collector.store import StoreDown
from schoolpulse_collector.stores.duckdb import DuckDB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDB]:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as made:
        yield made


def test_readers_see_every_row_once_while_days_are_closed_and_replaced(store: DuckDB) -> None:
    days = 6
    store.write(some(days))
    expected, done, errors, looks = answers(store), threading.Event(), list[BaseException](), list[int]()

    def look() -> None:
        try:
            while not done.is_set():
                assert answers(store) == expected
                looks.append(1)
        except BaseException as why:
            errors.append(why)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for day in range(1, days + 1):
        store.upkeep(evening(day), 2**62)
    store._days.close(store._db, "mem", D0 + days)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(looks) > 3
    assert hot(store) == 0


WRITER = """
import sys
from pathlib import Path
from schoolpulse_collector.record import Record
from schoolpulse_collector.stores.duckdb import DuckDB

number, evening = int(sys.argv[2]), int(sys.argv[3])
store = DuckDB(Path(sys.argv[1]), keep_days=100_000)
store.upkeep(evening + number * 86_400_000, 2**62)
while True:
    number += 1
    now = evening + number * 86_400_000
    seqs = range(number * 10 - 9, number * 10 + 1)
    groups = {"mem": {"used": 1.0}, f"m{number % 3}": {"n": 1.0}}
    store.write([Record("d1", 7, q, now - (q % 4 + 1) * 86_400_000 + q % 999, 0, "s", "r", "k", groups) for q in seqs])
    print(number, flush=True)
    store.upkeep(now, 2**62)
"""


def test_after_kill_nine_at_any_moment_of_closing_every_row_is_there_once(tmp_path: Path) -> None:
    path, chance, known = tmp_path / "samples.duckdb", random.Random(5), 0
    for _ in range(10):
        command = [sys.executable, "-c", WRITER, str(path), str(known), str(evening(0))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            printed = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.4))
            writer.kill()
            printed += writer.stdout.readlines()
        promised = int([line for line in printed if line.endswith(b"\n")][-1])
        with closing(DuckDB(path, keep_days=100_000)) as store:
            there = seqs(store)
            assert there == list(range(1, len(there) + 1))
            assert len(there) >= promised * 10 > known * 10
            assert list(store.received()) == [("d1", 7, 1, len(there))]
            mem = Series("mem", "used", 0, T + 10_000 * DAY, aggregate="count")
            assert [row.value for row in store.query(mem).rows] == [len(there)]
            named = {file for (file,) in store._db.execute("select file from closed").fetchall()}
            assert {str(found.relative_to(store._days.folder)) for found in tmp_path.glob("*.days/*/*")} == named
            known = len(there) // 10


# A full disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB; who may not mount one can't run this test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Callable[[], None]:
    """Take all room but so many bytes; call what is returned to give it back."""
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - leave))
    return filler.unlink


@pytest.mark.soak  # it needs root
@pytest.mark.parametrize("leave", [0, 20_000, 200_000])
def test_upkeep_on_a_full_disk_is_a_store_that_is_down_and_loses_nothing(small_disk: Path, leave: int) -> None:
    chance = random.Random(1)
    wide = {"mem": {f"f{n}": 1.0 for n in range(20)}}
    with closing(DuckDB(small_disk / "samples.duckdb")) as store:
        for first in range(0, 3000, 500):
            made = []
            for seq in range(first, first + 500):
                made.append(record(seq, T + seq * 60, {"mem": {name: chance.random() for name in wide["mem"]}}))
            store.write(made)
        give_back = fill(small_disk, leave)
        for _ in range(3):
            with pytest.raises(StoreDown):
                store.upkeep(evening(5), 2**62)
            assert seqs(store) == list(range(3000))
        give_back()
        assert shutil.disk_usage(small_disk).free > 12 * 2**20  # the tries left nothing behind
        store.upkeep(evening(5), 2**62)
        assert hot(store) == 0
        assert seqs(store) == list(range(3000))
    with closing(DuckDB(small_disk / "samples.duckdb")) as store:
        assert seqs(store) == list(range(3000))
