"""What every store keeps to, on real ones: all that was written is there once, and comes back by value.

A further store runs the whole suite by one more entry in ``STORES``.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schoolpulse_agent.wire import BadReport, group_key
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import BadQuery, Series
from schoolpulse_collector.store import Last, Store, StoreDown, open_store

# name -> makes the URL of a new, empty store, given a folder of the test's own
STORES: dict[str, Callable[[Path], str]] = {"duckdb": lambda folder: f"duckdb://{folder}/samples.duckdb"}

T = 1_795_449_600  # seconds
STRANGE = [
    "Trường Tiểu học Đống Đa",
    "e\u0301 is not é",
    "it's",
    '"quoted"',
    "a,b",
    "a=b",
    "back\\slash",
    "trailing\\",
    "\\,",
    " spaces ",
    "C:",
    "%_*?",
    "null",
    "0",
    "{}[]()$1",
    "x" * 128,
    "🏫",
]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty store."""
    return STORES[request.param](tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url, Path())) as made:
        yield made


def record(seq: int, m: dict[str, dict[str, float]] | None = None, **other: Any) -> Record:
    """Report number seq of device d1, a second after the one before."""
    known: dict[str, Any] = {
        "device": "d1", "epoch": 7, "t": (T + seq) * 1000, "lag": 250, "school": "s", "room": "r", "kind": "lab_pc",
    }  # fmt: skip
    return Record(seq=seq, m={"mem": {"used": float(seq)}} if m is None else m, **known | other)


def ask(store: Store, measurement: str, field: str, *group_by: str, **what: Any) -> list[tuple[Any, ...]]:
    """Rows as (tags ..., value); all that a test wrote unless ``what`` says else."""
    what = {"start": T, "stop": T + 100_000, "aggregate": "sum", **what}
    rows = store.query(Series(measurement, field, group_by=group_by, **what)).rows
    return [(*row.tags, row.value) for row in rows]


def values(store: Store, measurement: str, field: str, **what: Any) -> list[tuple[int, float]]:
    """(seq, value) of each sample, where records are a second apart."""
    what = {"start": T, "stop": T + 10_000, "every": 1, "aggregate": "sum", **what}
    return [(row.t - T, row.value) for row in store.query(Series(measurement, field, **what)).rows]


def seqs(store: Store) -> list[int]:
    """The seqs of all stored reports, each as often as it is stored."""
    counts = dict(values(store, "report", "seq", aggregate="count"))
    return [int(total / counts[t]) for t, total in values(store, "report", "seq") for _ in range(int(counts[t]))]


# By value.


def test_what_was_written_comes_back_by_value(store: Store) -> None:
    assert store.write([record(1, {"mem": {"used": 1.5, "free": -2.25}}), record(2, {"mem": {"used": 1e300}})]) == []
    assert values(store, "mem", "used") == [(1, 1.5), (2, 1e300)]
    assert values(store, "mem", "free") == [(1, -2.25)]


@pytest.mark.parametrize("value", [0.0, -0.5, 1e-300, 123456789.123456, float(2**53), 1.7e308])
def test_a_value_comes_back_to_the_last_digit(store: Store, value: float) -> None:
    store.write([record(1, {"mem": {"used": value}})])
    assert values(store, "mem", "used", aggregate="last") == [(1, value)]


def test_samples_carry_where_the_device_stood(store: Store) -> None:
    store.write([record(1, room="r1"), record(2, room="r2"), record(3, device="d2", school="s2", kind="server")])
    assert ask(store, "mem", "used", "device", "school", "room", "kind") == [
        ("d1", "s", "r1", "lab_pc", 1),
        ("d1", "s", "r2", "lab_pc", 2),
        ("d2", "s2", "r", "server", 3),
    ]


def test_each_report_is_also_a_sample_of_epoch_seq_and_lag(store: Store) -> None:
    store.write([record(1, epoch=2**32 - 1, lag=-40), record(2, {"cpu": {"usage": 1.0}}, epoch=0, lag=86_400_000)])
    assert values(store, "report", "epoch") == [(1, 2**32 - 1), (2, 0)]
    assert values(store, "report", "seq") == [(1, 1), (2, 2)]
    assert values(store, "report", "lag_ms") == [(1, -40), (2, 86_400_000)]


def test_a_device_can_not_write_into_the_measurement_report(store: Store) -> None:
    (refusal,) = store.write([record(1, {"report": {"seq": 99.0}, "mem": {"used": 1.0}})])
    assert refusal.group == "report"
    assert values(store, "report", "seq") == [(1, 1)]
    assert values(store, "mem", "used") == [(1, 1)]


def test_groups_of_one_measurement_in_one_report_stay_apart(store: Store) -> None:
    store.write([record(1, {"disk,path=/": {"free": 1.0}, "disk,path=/home": {"free": 2.0}})])
    assert ask(store, "disk", "free", "path") == [("/", 1), ("/home", 2)]


@pytest.mark.parametrize("tag", STRANGE)
def test_a_strange_tag_comes_back_and_can_be_asked_for(store: Store, tag: str) -> None:
    key = group_key("disk", {"path": tag})
    store.write([record(1, {key: {"free": 1.0}, "disk,path=other": {"free": 2.0}}, school=tag)])
    assert (tag, 1) in ask(store, "disk", "free", "path")
    assert ask(store, "disk", "free", where=(("path", "=", tag),)) == [(1,)]
    assert ask(store, "disk", "free", where=(("path", "!=", tag),)) == [(2,)]
    assert ask(store, "disk", "free", where=(("path", "in", f"{tag}|nothing"),)) == [(1,)]
    assert ask(store, "disk", "free", where=(("path", "prefix", tag),)) == [(1,)]
    assert ask(store, "disk", "free", "school") == [(tag, 3)]
    assert Last("d1", key, (T + 1) * 1000, {"free": 1.0}) in store.latest()


def test_a_missing_tag_is_shown_as_empty(store: Store) -> None:
    store.write([record(1, {"disk,path=/": {"free": 1.0}, "disk": {"free": 2.0}})])
    assert sorted(ask(store, "disk", "free", "path")) == [("", 2), ("/", 1)]
    assert ask(store, "disk", "free", where=(("path", "!=", "/"),)) == [(2,)]


def test_rows_come_in_the_order_of_tags_then_time_and_a_missing_tag_first(store: Store) -> None:
    store.write([record(seq, {"disk,path=/": {"free": 1.0}, "disk": {"free": 2.0}}) for seq in (2, 1, 3)])
    rows = store.query(Series("disk", "free", T, T + 60, every=1, group_by=("path",))).rows
    assert [(row.tags, row.t - T) for row in rows] == [((path,), t) for path in ("", "/") for t in (1, 2, 3)]


# Once.


def test_writing_a_record_twice_leaves_it_once(store: Store) -> None:
    for _ in range(2):
        assert store.write([record(1), record(2)]) == []
    store.write([record(2), record(3)])
    assert seqs(store) == [1, 2, 3]
    assert values(store, "mem", "used", aggregate="count") == [(1, 1), (2, 1), (3, 1)]


def test_a_batch_that_holds_a_record_twice_leaves_it_once(store: Store) -> None:
    store.write([record(1), record(2), record(1), record(1)])
    assert seqs(store) == [1, 2]
    assert values(store, "mem", "used", aggregate="count") == [(1, 1), (2, 1)]


def test_old_batches_replayed_after_a_reopen_leave_each_record_once(url: str) -> None:
    batches = [[record(seq, {"disk,path=/": {"free": 1.0}}) for seq in range(at, at + 5)] for at in (1, 6, 11)]
    for _ in range(3):
        with closing(open_store(url, Path())) as store:
            for batch in batches:
                store.write(batch)
    with closing(open_store(url, Path())) as store:
        assert seqs(store) == list(range(1, 16))
        assert ask(store, "disk", "free", aggregate="count") == [(15,)]


def test_the_same_seq_of_another_epoch_or_device_is_another_report(store: Store) -> None:
    store.write([record(1), record(1, epoch=8, t=(T + 2) * 1000), record(1, device="d2", t=(T + 3) * 1000)])
    assert values(store, "report", "seq") == [(1, 1), (2, 1), (3, 1)]


def test_no_records_are_no_error(store: Store) -> None:
    assert store.write([]) == []
    assert list(store.received()) == []
    assert list(store.latest()) == []


NUMBERS = itertools.count()
KEYS = st.tuples(st.sampled_from([0, 7, 2**32 - 1]), st.integers(1, 40) | st.integers(2**53 - 3, 2**53))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(KEYS, min_size=1, max_size=15), min_size=1, max_size=4))
def test_received_tells_what_was_written_as_ranges(store: Store, batches: list[list[tuple[int, int]]]) -> None:
    device = f"d{next(NUMBERS)}"  # another one for each example, in the one store
    for batch in batches:
        store.write([record(seq, epoch=epoch, device=device, t=T * 1000) for epoch, seq in batch])
    rows = sorted(row[1:] for row in store.received() if row[0] == device)
    told = {(epoch, seq) for epoch, first, last in rows for seq in range(first, last + 1)}
    assert told == {key for batch in batches for key in batch}
    for before, after in itertools.pairwise(rows):  # neither touching nor overlapping
        assert before[0] != after[0] or before[2] + 1 < after[1]


def test_received_is_the_same_after_a_reopen(url: str) -> None:
    with closing(open_store(url, Path())) as store:
        store.write([record(seq) for seq in (1, 2, 3, 7)])
    with closing(open_store(url, Path())) as store:
        assert sorted(store.received()) == [("d1", 7, 1, 3), ("d1", 7, 7, 7)]


def test_a_record_without_groups_is_noted_as_received_and_stored_nowhere(url: str) -> None:
    with closing(open_store(url, Path())) as store:
        assert store.write([record(1), record(2, {}), record(3)]) == []
        assert store.write([record(4, {})]) == []
    with closing(open_store(url, Path())) as store:
        assert list(store.received()) == [("d1", 7, 1, 4)]
        assert seqs(store) == [1, 3]
        assert values(store, "mem", "used") == [(1, 1), (3, 3)]


def test_lows_tell_the_highest_low_of_each_sender_and_epoch_also_after_a_reopen(url: str) -> None:
    with closing(open_store(url, Path())) as store:
        store.write([record(5, low=4), record(6, low=6), record(1, low=1), record(1, {}, epoch=8, low=1)])
        store.write([record(2, low=2), record(9, device="d2", low=9)])
        arrived = {seq: (T + seq) * 1000 + 250 for seq in (1, 6, 7, 9)}
        lows = [("d1", 7, 6, arrived[6]), ("d1", 8, 1, arrived[1]), ("d2", 7, 9, arrived[9])]
        assert sorted(store.lows()) == lows
    with closing(open_store(url, Path())) as store:
        assert sorted(store.lows()) == lows
        store.write([record(7, low=7)])
        assert ("d1", 7, 7, arrived[7]) in store.lows()


# New names, at any time.


def test_new_measurements_tags_and_fields_may_appear_at_any_time(url: str) -> None:
    with closing(open_store(url, Path())) as store:
        store.write([record(1, {"disk": {"free": 1.0}})])
        store.write([record(2, {"disk": {"free": 2.0, "total": 20.0}}), record(3, {"disk,path=/": {"free": 3.0}})])
        store.write([record(4, {"fan,name=cpu": {"rpm": 900.0}})])
    with closing(open_store(url, Path())) as store:
        store.write([record(5, {"disk,fstype=ext4,path=/": {"inodes": 5.0}, "ups": {"charge": 50.0}})])
        assert values(store, "disk", "free") == [(1, 1), (2, 2), (3, 3)]
        assert values(store, "disk", "total") == [(2, 20)]
        assert values(store, "disk", "inodes", where=(("fstype", "=", "ext4"), ("path", "=", "/"))) == [(5, 5)]
        assert values(store, "fan", "rpm") == [(4, 900)]
        assert values(store, "ups", "charge") == [(5, 50)]


def test_a_name_that_is_a_tag_here_and_a_field_there_is_refused_while_the_rest_is_stored(url: str) -> None:
    with closing(open_store(url, Path())) as store:
        store.write([record(1, {"disk,path=/": {"free": 1.0}})])
        first = record(2, {"disk": {"path": 5.0}, "mem": {"used": 2.0}})
        second = record(3, {"disk,free=yes": {"total": 5.0}, "disk,path=/": {"free": 3.0}})
        refusals = store.write([first, second, record(4, {"disk,path=/": {"free": 4.0}})])
        assert [(refusal.record, refusal.group) for refusal in refusals] == [(first, "disk"), (second, "disk,free=yes")]
        assert all(refusal.reason for refusal in refusals)
    with closing(open_store(url, Path())) as store:
        assert [refusal.group for refusal in store.write([record(5, {"disk": {"path": 5.0}})])] == ["disk"]
        assert seqs(store) == [1, 2, 3, 4, 5]
        assert values(store, "disk", "free") == [(1, 1), (3, 3), (4, 4)]
        assert values(store, "mem", "used") == [(2, 2)]
        assert values(store, "disk", "path") == []


def test_two_uses_of_a_name_in_one_batch_leave_the_first(store: Store) -> None:
    (refusal,) = store.write([record(1, {"disk,path=/": {"free": 1.0}}), record(2, {"disk": {"path": 1.0}})])
    assert refusal.record.seq == 2
    assert seqs(store) == [1, 2]


@pytest.mark.parametrize(
    "name", ["b", "v", "x", "step", "before", "bucket", "value", "first", "last", "select", "group", "order", "rowid"]
)
def test_a_measurement_a_tag_or_a_field_may_have_any_plain_name(store: Store, name: str) -> None:
    store.write(
        [
            record(1, {name: {"n": 1.0}, f"tagged,{name}=q": {"n": 10.0}, "fielded": {name: 100.0}}),
            record(2, {name: {"n": 2.0}, f"tagged,{name}=q": {"n": 20.0}, "fielded": {name: 200.0}}),
        ]
    )
    chosen = {"where": ((name, "=", "q"),)}
    for across in (None, "max"):
        for aggregate, value in (("sum", 3), ("mean", 1.5), ("last", 2), ("rate", 1 / 100_000)):
            how = {"across": across, "aggregate": aggregate}
            assert ask(store, name, "n", **how) == [(value,)]
            assert ask(store, "fielded", name, **how) == [pytest.approx((100 * value,))]
            assert ask(store, "tagged", "n", name, **how, **chosen) == [("q", pytest.approx(10 * value))]
            assert ask(store, "tagged", "n", **how) == [pytest.approx((10 * value,))]


# Questions about what is not there.


def test_an_unknown_measurement_or_field_is_an_empty_frame(store: Store) -> None:
    store.write([record(1, {"disk,path=/": {"free": 1.0}})])
    assert ask(store, "nothing", "free", "device") == []
    assert ask(store, "nothing", "free", where=(("path", "=", "/"),)) == []
    assert ask(store, "disk", "nothing", "device") == []
    assert ask(store, "disk", "path") == []
    assert ask(store, "report", "t") == []


@pytest.mark.parametrize("what", [{"group_by": ("nothing",)}, {"where": (("nothing", "!=", "x"),)}])
def test_an_unknown_tag_is_a_bad_query(store: Store, what: dict[str, Any]) -> None:
    store.write([record(1)])
    with pytest.raises(BadQuery, match="nothing"):
        store.query(Series("mem", "used", T, T + 60, **what))


# The last values.


def test_latest_gives_the_newest_of_each_group_also_when_late_data_is_written_later(url: str) -> None:
    disk = "disk,path=/"
    with closing(open_store(url, Path())) as store:
        store.write([record(5, {disk: {"free": 5.0, "total": 9.0}, "mem": {"used": 5.0}}), record(9, device="d2")])
        store.write([record(3, {disk: {"free": 3.0}, "mem": {"used": 3.0}}), record(4, {"swap": {"used": 4.0}})])
        store.write([record(6, {disk: {"free": 6.0}}, room="other")])
    with closing(open_store(url, Path())) as store:
        last = sorted(row for row in store.latest() if row.group != "report")
    assert last == [
        ("d1", disk, (T + 6) * 1000, {"free": 6.0}),
        ("d1", "mem", (T + 5) * 1000, {"used": 5.0}),
        ("d1", "swap", (T + 4) * 1000, {"used": 4.0}),
        ("d2", "mem", (T + 9) * 1000, {"used": 9.0}),
    ]


def test_latest_tells_groups_as_the_wire_names_them(store: Store) -> None:
    groups = [group_key("disk", {"path": path, "fstype": "ext4"}) for path in STRANGE] + ["disk", "disk,path=/"]
    store.write([record(1, {group: {"free": float(n)} for n, group in enumerate(groups)})])
    assert {row.group: row.fields["free"] for row in store.latest() if row.group != "report"} == {
        group: float(n) for n, group in enumerate(groups)
    }


# Several at once.


def in_threads(count: int, work: Callable[[], object]) -> tuple[list[threading.Thread], list[BaseException]]:
    errors = list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as why:
            errors.append(why)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, errors


def test_questions_from_several_threads_while_writing_see_whole_batches_in_order(store: Store) -> None:
    store.write([record(seq) for seq in range(1, 11)])
    done = threading.Event()

    def look() -> None:
        before = 0.0
        while not done.is_set():
            ((count,),) = ask(store, "mem", "used", aggregate="count")
            assert count >= before
            assert count % 10 == 0
            before = count
            assert sum(last - first + 1 for _, _, first, last in store.received()) % 10 == 0

    threads, errors = in_threads(4, look)
    for batch in range(1, 30):
        store.write([record(seq) for seq in range(batch * 10 + 1, batch * 10 + 11)])
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seqs(store) == list(range(1, 301))


def test_questions_are_answered_while_new_names_appear(store: Store) -> None:
    store.write([record(1, {"disk,path=/": {f"f{i}": 1.0 for i in range(200)}})])
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            assert ask(store, "disk", "f0", "path") == [("/", 1)]
            assert any(row.group == "disk,path=/" for row in store.latest())
            for _ in range(100):
                with pytest.raises(BadQuery):
                    ask(store, "disk", "f0", "nothing")

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    try:
        threads, errors = in_threads(3, look)
        for n in range(2, 8):
            fields = {f"f{n * 1000 + i}": 1.0 for i in range(40)}
            store.write([record(n, {"disk,path=/": fields, f"m{n}": {"n": 1.0}})])
        done.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert errors == []


# Failures.

WRITER = """
import sys
from pathlib import Path
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import open_store

store, number, t = open_store(sys.argv[1], Path()), int(sys.argv[2]), int(sys.argv[3])
while True:
    groups = {f"disk,path=/{number % 4}": {"free": 1.0, f"f{number % 50}": 2.0}, f"m{number % 9}": {"n": 1.0}}
    seqs = range(number * 5 + 1, number * 5 + 6)
    store.write([Record("d1", 7, seq, (t + seq) * 1000, 250, "s", "r", "k", groups) for seq in seqs])
    number += 1
    print(number, flush=True)
"""


def batch_of_writer(number: int) -> list[Record]:
    """What the writer above writes as batch ``number``."""
    groups = {f"disk,path=/{number % 4}": {"free": 1.0, f"f{number % 50}": 2.0}, f"m{number % 9}": {"n": 1.0}}
    return [record(seq, groups, kind="k") for seq in range(number * 5 + 1, number * 5 + 6)]


def test_after_kill_nine_all_written_batches_are_there_whole_and_a_replay_leaves_each_record_once(url: str) -> None:
    chance, known = random.Random(2), 0
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, url, str(known), str(T)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            printed = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.3))
            writer.kill()
            printed += writer.stdout.readlines()
        promised = int([line for line in printed if line.endswith(b"\n")][-1])
        with closing(open_store(url, Path())) as store:
            there = seqs(store)
            assert promised > known
            assert there == list(range(1, len(there) + 1))
            assert len(there) >= promised * 5
            assert len(there) % 5 == 0
            assert values(store, "disk", "free") == [(seq, 1.0) for seq in there]
            assert sum(row[0] for n in range(9) for row in ask(store, f"m{n}", "n")) == len(there)
            known = len(there) // 5 + 1
            store.write([record for number in range(known) for record in batch_of_writer(number)])
            assert seqs(store) == list(range(1, known * 5 + 1))
            assert values(store, "disk", "free") == [(seq, 1.0) for seq in range(1, known * 5 + 1)]
            assert list(store.received()) == [("d1", 7, 1, known * 5)]


def test_a_batch_that_could_not_be_written_can_be_written_again(store: Store) -> None:
    good, broken = record(1), record(2, {"No Name": {"n": 1.0}})  # as the spool of another version might hold
    with suppress(StoreDown, BadReport):
        store.write([good, broken])
    store.write([good])
    assert values(store, "mem", "used") == [(1, 1)]
    assert 1 in seqs(store)


@pytest.mark.parametrize("url", ["", "nosuch:///x", "nosuch", "os.path:///x", "../stores/duckdb:///x", "duckdb:x"])
def test_a_url_that_names_no_store_is_a_value_error_that_shows_it(url: str) -> None:
    with pytest.raises(ValueError, match="store") as raised:
        open_store(url, Path())
    assert repr(url) in str(raised.value)


# DuckDB alone: it is the one whose file is ours.

FULL_DISK = """
import json, resource, sys
from pathlib import Path
from schoolpulse_collector.record import Record
from schoolpulse_collector.store import StoreDown, open_store

store, t, said = open_store(sys.argv[1], Path()), int(sys.argv[2]), []
groups = {"mem": {f"f{i}": 1.0 for i in range(50)}}

def write(number):
    try:
        seqs = range(number * 5, number * 5 + 5)
        store.write([Record("d1", 7, seq, (t + seq) * 1000, 0, "s", "r", "k", groups) for seq in seqs])
        return "written"
    except StoreDown:
        return "down"

said += [write(1)]
size = Path(sys.argv[3]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
said += [write(number) for number in (2, 3, 2)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
said += [write(number) for number in (2, 3)]
print(json.dumps(said))
"""


def test_a_full_disk_is_a_store_that_is_down_until_there_is_room_again(tmp_path: Path) -> None:
    url = f"duckdb://{tmp_path}/samples.duckdb"
    command = [sys.executable, "-c", FULL_DISK, url, str(T), f"{tmp_path}/samples.duckdb.wal"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert json.loads(output) == ["written", "down", "down", "down", "written", "written"]
    with closing(open_store(url, Path())) as store:
        assert seqs(store) == list(range(5, 20))
        assert ask(store, "mem", "f0", aggregate="count") == [(15,)]


def test_a_file_that_is_no_database_is_a_store_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "samples.duckdb").write_bytes(b"This is no DuckDB file. " * 1000)
    with pytest.raises(StoreDown, match=r"samples\.duckdb"):
        open_store(f"duckdb://{tmp_path}/samples.duckdb", Path())


def test_a_second_process_finds_the_store_down(tmp_path: Path) -> None:
    url = f"duckdb://{tmp_path}/samples.duckdb"
    with closing(open_store(url, Path())) as store:
        store.write([record(1)])
        program = f"from schoolpulse_collector.store import open_store; open_store({url!r}, None)"
        second = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert second.returncode == 1
    assert b"StoreDown" in second.stderr


def test_made_up_names_are_bounded_and_cost_nobody_else_anything(store: Store) -> None:
    flood = record(1, {"flood": {f"f{i}": 1.0 for i in range(2000)}, "mem": {"used": 1.0}})
    (refusal,) = store.write([flood])
    assert refusal.group == "flood"
    assert values(store, "mem", "used") == [(1, 1)]


def test_a_known_fields_name_can_not_be_taken_as_a_tag_by_whoever_comes_first(store: Store) -> None:
    (refusal,) = store.write([record(1, {"cpu,usage_active=x": {"usage_idle": 1.0}})])
    assert "usage_active" in refusal.group
    assert store.write([record(2, {"cpu": {"usage_active": 5.0}})]) == []


def test_made_up_measurements_shut_no_known_one_out(store: Store) -> None:
    store.write([record(1, {f"made_up_{n}": {"x": 1.0} for n in range(400)})])
    refusals = store.write([record(2, {"mem": {"used": 1.0}, "another": {"x": 1.0}})])
    assert [refusal.group for refusal in refusals] == ["another"]
    assert seqs(store) == [1, 2]
    assert values(store, "mem", "used") == [(2, 1)]
