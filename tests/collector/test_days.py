"""Closed days of the embedded store: rows that went into files are asked, joined and dropped as all others."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dayrecords import DAY, T, answers, evening, hot, record, seqs, some

from schoolpulse_collector.series import Series
from schoolpulse_collector.store import Last, StoreDown
from schoolpulse_collector.stores.duckdb import DuckDB


def files(folder: Path) -> list[str]:
    """Of closed days, as day/measurement."""
    return sorted(f"{path.parent.name}/{path.name.partition('-')[0]}" for path in folder.glob("samples.days/*/*"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDB]:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as made:
        yield made


def test_answers_are_the_same_whether_days_are_open_or_closed_and_after_a_reopen(tmp_path: Path) -> None:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write(some(5))
        before = answers(store)
        for day, open_reports in ((0, 122), (1, 97), (3, 48), (3, 48), (9, 0)):
            store.upkeep(evening(day), 2**62)
            assert hot(store) == open_reports
            assert answers(store) == before
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        assert answers(store) == before
    assert files(tmp_path) == sorted(
        f"2026-11-{23 + day}/{name}" for day in range(5) for name in ("disk", "mem", "report")
    )


def test_a_day_is_closed_in_the_evening_after_it_and_not_before(store: DuckDB) -> None:
    store.write(some(2))
    store.upkeep(evening(1) - 1, 2**62)
    assert hot(store) == len(some(2))
    store.upkeep(evening(1), 2**62)
    assert hot(store) == 25


def test_late_rows_are_seen_at_once_and_go_into_their_day_at_the_next_closing(store: DuckDB, tmp_path: Path) -> None:
    records = some(4)
    random.Random(3).shuffle(records)
    with closing(DuckDB(tmp_path / "plain.duckdb")) as plain:
        plain.write(records)
        expected = answers(plain)
    for at, day in ((0, 2), (30, 3), (60, 4), (80, 5)):
        store.write(records[at : at + 30])
        assert len(seqs(store)) == min(at + 30, len(records))
        store.upkeep(evening(day), 2**62)
        assert len(seqs(store)) == min(at + 30, len(records))
    assert answers(store) == expected
    assert hot(store) == 0
    store._days.sweep(store._db, linger=0)
    assert len(files(tmp_path)) == len(set(files(tmp_path))) == 4 * 3


def test_days_that_are_too_old_go_with_their_files_and_late_rows_and_nothing_else_goes(tmp_path: Path) -> None:
    with closing(DuckDB(tmp_path / "samples.duckdb", keep_days=3)) as store:
        store.write(some(4)[:-2])
        store.upkeep(evening(2), 2**62)
        store.write([record(1000 + seq, t) for seq, t in enumerate((T, T + DAY, T + 3 * DAY))])  # late
        store.upkeep(evening(4), 2**62)
        assert seqs(store) == [*range(25, 97), 1001, 1002]
        store._days.sweep(store._db, linger=0)
        assert {name.partition("/")[0] for name in files(tmp_path)} == {"2026-11-24", "2026-11-25", "2026-11-26"}
        store.upkeep(evening(5000), 2**62)  # a clock that is years ahead takes nothing away
        assert seqs(store) == [*range(25, 97), 1001, 1002]


def test_what_a_kill_left_half_written_goes_at_the_next_start(tmp_path: Path) -> None:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write(some(2))
        store.upkeep(evening(2), 2**62)
        before, kept = answers(store), files(tmp_path)
        store._db.execute(
            "insert into leftover values ('2020-01-01/mem-0.parquet', 0), ('2026-11-23/mem-1.parquet', 0)"
        )
    folder = tmp_path / "samples.days"
    (folder / "2020-01-01").mkdir()
    for half in ("2020-01-01/mem-0.parquet", "2026-11-23/mem-1.parquet"):
        (folder / half).write_bytes(b"half of")
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        assert files(tmp_path) == kept
        assert not (folder / "2020-01-01").exists()
        assert answers(store) == before


def test_the_archive_of_a_database_that_was_lost_stays(tmp_path: Path) -> None:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write(some(3))
        store.upkeep(evening(3), 2**62)
        kept = files(tmp_path)
    (tmp_path / "samples.duckdb").unlink()
    (tmp_path / "samples.days" / "README").write_text("somebody's own")
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write(some(1))
        store.upkeep(evening(9), 2**62)
    assert len(kept) == 9 and set(kept) <= set(files(tmp_path))


def test_a_damaged_file_keeps_no_other_day_from_being_closed(tmp_path: Path) -> None:
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write(some(1))
        store.upkeep(evening(1), 2**62)
        for path in tmp_path.glob("samples.days/*/mem-*"):
            path.write_bytes(b"PAR1 no more")
        late = [record(5000, T + 7, {"mem": {"used": 1.0}}), *(record(6000 + n, T + n * DAY) for n in (1, 2))]
        store.write(late)
        store.upkeep(evening(4), 2**62)
        assert [row[0] for row in store._db.execute("select t // 1000 from m.mem").fetchall()] == [T + 7]


def test_columns_that_appear_later_are_empty_in_closed_days(tmp_path: Path) -> None:
    def free(store: DuckDB, field: str, *tags: str) -> list[tuple[Any, ...]]:
        rows = store.query(Series("disk", field, T, T + 9 * DAY, aggregate="sum", group_by=tags)).rows
        return [(*row.tags, row.value) for row in rows]

    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        store.write([record(1, T, {"disk": {"free": 1.0}})])
        store.upkeep(evening(1), 2**62)
        store.write([record(2, T + DAY, {"disk,path=/": {"free": 2.0, "total": 20.0}})])
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        for day in (1, 2):
            store.upkeep(evening(day), 2**62)
            assert free(store, "free", "path") == [("", 1), ("/", 2)]
            assert free(store, "total") == [(20,)]
        store.write([record(3, T, {"disk,fstype=ext4": {"inodes": 5.0}})])  # late, and new
        store.upkeep(evening(3), 2**62)
        assert free(store, "free", "fstype", "path") == [("", "", 1), ("", "/", 2)]
        assert free(store, "inodes", "fstype") == [("ext4", 5)]


def test_latest_covers_closed_days_of_the_last_week(tmp_path: Path) -> None:
    now = int(time.time())
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        groups = {"disk,path=/": {"free": 1.0}, "mem": {"used": 1.0}}
        store.write([record(1, now - 5 * DAY, groups), record(4, now - 3 * DAY), record(2, now - 2 * DAY)])
        store.upkeep((now + 2 * DAY) * 1000, 2**62)
        assert hot(store) == 0
        store.write([record(7, now - 4 * DAY)])  # late: not the newest
    with closing(DuckDB(tmp_path / "samples.duckdb")) as store:
        assert sorted(row for row in store.latest() if row.group != "report") == [
            Last("d1", "disk,path=/", (now - 5 * DAY) * 1000, {"free": 1.0}),
            Last("d1", "mem", (now - 3 * DAY) * 1000, {"used": 4.0}),
            Last("d2", "mem", (now - 2 * DAY) * 1000, {"used": 2.0}),
        ]


def test_a_manifest_that_names_a_file_that_is_gone_is_a_store_that_is_down(store: DuckDB, tmp_path: Path) -> None:
    store.write(some(2))
    store.upkeep(evening(1), 2**62)
    for path in tmp_path.glob("samples.days/*/mem-*"):
        path.unlink()
    with pytest.raises(StoreDown, match="mem-"):
        answers(store)
    assert len(seqs(store)) == len(some(2))
