"""From a real spool to a real store: everything is stored once in the end, whatever the store does meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from running import wait_until

from schoolpulse_collector import shipper as module
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.record import Record, encode
from schoolpulse_collector.series import Series
from schoolpulse_collector.shipper import Shipper
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.store import Refusal, Store, StoreDown, open_store

T = 1_795_449_600


class Unsteady:
    """A real store that does, call by call, what ``moods`` say: down, down after it wrote, or an error of ours."""

    def __init__(self, store: Store, moods: Sequence[str] = ()) -> None:
        self.store, self.moods = store, list(moods)

    def write(self, records: Sequence[Record]) -> list[Refusal]:
        mood = self.moods.pop(0) if self.moods else "well"
        if mood == "down":
            raise StoreDown("away")
        if mood == "mistake":
            raise RuntimeError("a mistake of ours")
        refusals = self.store.write(records)
        if mood == "answer lost":
            raise StoreDown("connection reset")
        return refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Rig:
    """Spool, store and what is counted, in one folder; its shippers follow each other as after restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Spool(folder / "spool", segment_bytes=2000)
        self.store = open_store(f"duckdb://{folder}/samples.duckdb", Path())
        self.letters, self.counters = DeadLetters(folder / "letters"), Counters()
        self.shippers: list[Shipper] = []

    def shipper(self, *moods: str) -> Shipper:
        made = Shipper(self.spool, Unsteady(self.store, moods), self.letters, self.counters)
        made.start()
        self.shippers.append(made)
        return made

    def close(self) -> None:
        for shipper in self.shippers:
            shipper.stop()
        self.spool.close()
        self.store.close()

    def append(self, first: int, last: int, **groups: dict[str, float]) -> None:
        self.spool.append([line(seq, **groups) for seq in range(first, last + 1)])

    def stored(self) -> list[float]:
        """The seqs of the stored reports, each as often as it is stored."""

        def each_second(aggregate: str) -> dict[int, float]:
            asked = Series("report", "seq", T, T + 10_000, every=1, aggregate=aggregate)
            return {row.t: row.value for row in self.store.query(asked).rows}

        found, counts = each_second("mean"), each_second("count")
        return [seq for t, seq in found.items() for _ in range(int(counts[t]))]

    def counted(self, name: str, **labels: str) -> float:
        return self.counters.registry.get_sample_value(f"schoolpulse_{name}_total", labels) or 0.0

    def dead(self) -> list[dict[str, Any]]:
        path = self.letters.path
        return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def line(seq: int, **groups: dict[str, float]) -> bytes:
    return encode(Record("d1", 7, seq, (T + seq) * 1000, 5, "s", "r", "lab_pc", groups or {"mem": {"used": 1.0}}))


def up_to(last: int) -> list[float]:
    return [float(seq) for seq in range(1, last + 1)]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "GATHER", 0.02)
    made = Rig(tmp_path)
    yield made
    made.close()


def test_what_is_spooled_is_stored(rig: Rig) -> None:
    shipper = rig.shipper()
    for first in range(1, 51, 5):
        rig.append(first, first + 4)
    wait_until(lambda: rig.stored() == up_to(50), 10, "all are stored")
    shipper.stop()
    assert rig.counted("reports_stored") == 50


def test_what_waited_in_the_spool_before_the_start_is_stored(rig: Rig) -> None:
    rig.append(1, 5)
    shipper = rig.shipper()
    wait_until(lambda: rig.stored() == up_to(5), 10, "all are stored")
    shipper.stop()


@pytest.mark.parametrize(
    "moods",
    [
        ["down", "well", "down"],
        ["answer lost"],
        ["down", "answer lost", "well", "answer lost"],
        ["mistake", "well", "mistake"],
    ],
)
def test_everything_is_stored_once_when_the_store_fails_some_times(rig: Rig, moods: list[str]) -> None:
    shipper = rig.shipper(*moods)
    for first in range(1, 41, 10):
        rig.append(first, first + 9)
    wait_until(lambda: rig.stored() == up_to(40), 15, "all are stored")
    rig.append(41, 42)
    wait_until(lambda: rig.stored() == up_to(42), 15, "the last ones are stored")
    shipper.stop()
    assert rig.stored() == up_to(42)
    assert rig.counted("store_errors") == moods.count("down") + moods.count("answer lost")
    assert rig.counted("reports_stored") == 42


def test_stop_ships_what_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER", 60.0)
    shipper = rig.shipper()
    rig.append(1, 20)
    shipper.stop()
    assert rig.stored() == up_to(20)


def test_stop_ends_while_the_store_is_down_and_the_next_start_ships_it_all(rig: Rig) -> None:
    shipper = rig.shipper(*["down"] * 100)
    rig.append(1, 20)
    wait_until(lambda: rig.counted("store_errors"), 10, "a write failed")
    shipper.stop()
    assert rig.stored() == []
    rig.shipper().stop()
    assert rig.stored() == up_to(20)


def test_after_a_restart_what_is_still_spooled_is_sent_again_and_stays_once(rig: Rig) -> None:
    rig.append(1, 20)
    for _ in range(3):
        rig.shipper().stop()
    assert rig.stored() == up_to(20)


def test_files_of_the_spool_go_only_once_everything_in_them_is_stored(rig: Rig) -> None:
    shipper = rig.shipper("down")
    for seq in range(1, 101):
        rig.append(seq, seq)
    files = list(rig.spool.folder.iterdir())
    assert len(files) > 3
    wait_until(lambda: rig.stored() == up_to(100), 10, "all are stored")
    shipper.stop()
    assert list(rig.spool.folder.iterdir()) == [max(files)]
    assert rig.spool.bytes_after(shipper.place) == 0


def test_a_refused_group_is_counted_and_kept_among_the_dead_letters_while_the_rest_is_stored(rig: Rig) -> None:
    rig.append(1, 1, **{"disk,path=/": {"free": 1.0}})
    rig.append(2, 2, disk={"path": 5.0}, mem={"used": 2.0})
    rig.shipper().stop()
    assert rig.stored() == up_to(2)
    assert rig.counted("refused", reason="store") == 1
    (letter,) = rig.dead()
    assert (letter["topic"], letter["reason"]) == ("d1", "store")
    assert "disk" in letter["report"]
    assert [row.value for row in rig.store.query(Series("mem", "used", T, T + 10)).rows] == [2.0]


def test_the_note_of_a_refused_report_is_shipped_and_not_counted_as_stored(rig: Rig) -> None:
    refused = Record("d1", 7, 2, (T + 2) * 1000, 0, "s", "r", "lab_pc", {})
    rig.spool.append([line(1), encode(refused), line(3)])
    rig.shipper().stop()
    assert list(rig.store.received()) == [("d1", 7, 1, 3)]
    assert rig.stored() == [1, 3]
    assert rig.counted("reports_stored") == 2


@pytest.mark.parametrize("foreign", [b"{}", b"", b"half", b'{"device":"\xff"}', b'{"device":"d1","m":[]}'])
def test_a_line_of_another_version_is_kept_among_the_dead_letters_and_stops_nothing(rig: Rig, foreign: bytes) -> None:
    rig.spool.append([line(1), foreign, line(2)])
    rig.spool.append([foreign])
    rig.append(3, 3)
    shipper = rig.shipper()
    wait_until(lambda: rig.stored() == up_to(3), 5, "the others are stored")
    shipper.stop()
    assert rig.counted("refused", reason="spool") == 2
    assert [letter["topic"] for letter in rig.dead()] == ["spool", "spool"]


def test_after_a_quiet_month_no_restart_stores_anything_again(rig: Rig) -> None:
    """The spool keeps its last segment however old it is, so nobody may forget what is in it."""
    long_ago = int(time.time() * 1000) - 36 * 86_400_000
    spooled = [
        Record("d1", epoch, 1, long_ago + epoch, 10, "s", "r", "k", {"mem": {"used": 1.0}}) for epoch in range(50)
    ]
    rig.spool.append([encode(record) for record in spooled])
    for _ in range(3):
        shipper = rig.shipper()
        wait_until(lambda one=shipper: one.place == one._settled and one.place.offset, 10, "all of it was read")
        shipper.stop()
        shipper._tend()
        asked = Series("report", "seq", long_ago // 1000 - 60, long_ago // 1000 + 60, aggregate="count")
        assert [row.value for row in rig.store.query(asked).rows] == [50]


def test_a_store_that_is_restarted_again_and_again_gets_everything_since_what_had_settled(rig: Rig) -> None:
    class Restarting(Unsteady):
        settling, runs = 10.0, 0

        def run_id(self) -> str:
            self.runs += 1
            return str(self.runs)

    written: list[float] = []

    class Noting(Restarting):
        def write(self, records: Sequence[Record]) -> list[Refusal]:
            written.extend(record.seq for record in records)
            return []

    rig.append(1, 3)
    made = Shipper(rig.spool, Noting(rig.store), rig.letters, rig.counters)
    for _ in range(3):
        made._ship_all()
    assert written == [1, 2, 3] * 3
