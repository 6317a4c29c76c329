"""VictoriaMetrics answers before it has written: what a kill takes from it goes there again, from the real spool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import Program, VictoriaMetrics, free_port, wait_until

from schoolpulse_collector import shipper as shipping
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.deadletter import DeadLetters
from schoolpulse_collector.record import Record, encode
from schoolpulse_collector.series import Series
from schoolpulse_collector.shipper import Shipper
from schoolpulse_collector.spool import Spool
from schoolpulse_collector.store import StoreDown, open_store
from schoolpulse_collector.stores import victoriametrics

T = int(time.time()) - 3600


class Centre:
    """A spool that is shipped to a server, on a clock that is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.program, self.folder = VictoriaMetrics(folder / "victoriametrics"), folder
        self.now, self.counters, self.letters = 1000.0, Counters(), DeadLetters(folder / "letters")
        self.spool = Spool(folder / "spool", segment_bytes=3000)
        self.store = open_store(f"victoriametrics://127.0.0.1:{self.program.port}", folder)
        self.start()

    def start(self) -> None:
        self.shipper = Shipper(self.spool, self.store, self.letters, self.counters, lambda: self.now)
        self.shipper.start()

    def append(self, first: int, last: int) -> None:
        for seq in range(first, last + 1):
            groups = {f"m{seq % 7}": {f"f{seq}": float(seq)}}
            self.spool.append([encode(Record("d1", 7, seq, (T + seq) * 1000, 250, "s", "r", "lab_pc", groups))])

    def wait_for(self, count: int) -> None:
        """Wait until so many reports were stored, those that went again counted again."""
        wait_until(lambda: self.counted("reports_stored") >= count, 20, f"{count} are stored")
        assert self.counted("reports_stored") == count

    def counted(self, name: str) -> float:
        return self.counters.registry.get_sample_value(f"schoolpulse_{name}_total") or 0.0

    def files(self) -> int:
        return len(list(self.spool.folder.iterdir()))

    def restart_server(self) -> None:
        self.program.kill()
        self.program.start()

    def assert_stored_once(self, count: int) -> None:
        httpx.get(f"http://127.0.0.1:{self.program.port}/internal/force_flush", timeout=20).raise_for_status()

        def all_of(measurement: str, field: str, aggregate: str, every: int | None = None) -> list[float]:
            asked = Series(measurement, field, T, T + 3600, every=every, aggregate=aggregate)
            return [row.value for row in self.store.query(asked).rows]

        assert all_of("report", "seq", "sum", 1) == list(range(1, count + 1))
        assert all_of("report", "seq", "count") == [count]
        assert [all_of(f"m{seq % 7}", f"f{seq}", "sum") for seq in range(1, count + 1)] == [
            [seq] for seq in range(1, count + 1)
        ]

    def close(self) -> None:
        self.shipper.stop()
        self.spool.close()
        self.store.close()
        self.program.stop()


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    monkeypatch.setattr(victoriametrics, "LOOK_EVERY", 0.0)  # ask at once whether the server was restarted
    monkeypatch.setattr(shipping, "GATHER", 0.02)
    made = Centre(tmp_path)
    yield made
    made.close()


def next_second() -> None:
    """The server tells its start in whole seconds."""
    time.sleep(1.05 - time.time() % 1)


def test_run_changes_with_a_restart_and_not_otherwise(centre: Centre) -> None:
    before = centre.store.run_id()
    assert float(before.split()[0]) == pytest.approx(time.time(), abs=10)
    next_second()
    assert centre.store.run_id() == before
    centre.program.kill()
    with pytest.raises(StoreDown):
        centre.store.run_id()
    centre.program.start()
    assert centre.store.run_id() > before


def test_after_kill_nine_of_the_server_everything_is_there_again(centre: Centre) -> None:
    sent, stored = 0, 0
    for _ in range(3):
        next_second()
        centre.append(sent + 1, sent + 50)
        sent, stored = sent + 50, stored + 50
        centre.wait_for(stored)
        centre.restart_server()  # what it had in memory is gone
        centre.now += 5
        stored += sent  # all of it goes again: none has settled
        centre.wait_for(stored)
    assert centre.counted("store_replays") == 3
    centre.assert_stored_once(150)


def test_what_has_settled_does_not_go_again(centre: Centre) -> None:
    centre.append(1, 50)
    centre.wait_for(50)
    centre.now += 61
    wait_until(lambda: centre.files() == 1, 5, "it has settled")
    next_second()
    centre.append(51, 60)
    centre.wait_for(60)
    centre.program.stop()  # it writes what it has before it ends: only the clock here says that it had settled
    centre.program.start()
    centre.wait_for(70)
    centre.assert_stored_once(60)


def test_what_had_not_settled_goes_again_when_server_and_collector_end_at_once(centre: Centre) -> None:
    centre.append(1, 50)
    centre.wait_for(50)
    centre.shipper.stop()
    centre.restart_server()
    centre.start()
    centre.wait_for(100)
    centre.assert_stored_once(50)


def test_what_comes_while_the_server_is_away_is_stored_when_it_is_back(centre: Centre) -> None:
    centre.append(1, 20)
    centre.wait_for(20)
    next_second()
    centre.program.kill()
    centre.append(21, 40)
    wait_until(lambda: centre.counted("store_errors") >= 2, 10, "it is missed")
    assert not centre.shipper.works
    centre.program.start()
    wait_until(lambda: centre.counted("reports_stored") >= 60, 20, "all went there since")
    assert centre.shipper.works
    centre.assert_stored_once(40)


def test_files_of_the_spool_stay_until_the_server_has_surely_written(centre: Centre) -> None:
    centre.append(1, 100)
    files = centre.files()
    assert files > 3
    centre.wait_for(100)
    centre.now += centre.store.settling - 0.5
    time.sleep(0.3)  # a dozen rounds of the shipper
    assert centre.files() == files
    centre.now += 1
    wait_until(lambda: centre.files() == 1, 5, "the files go")


@pytest.mark.parametrize("flags", [["-retentionPeriod=5y"], ["-retentionPeriod=1", "-dedup.minScrapeInterval=1ms"]])
def test_nothing_is_written_to_a_server_that_would_double_or_drop_reports(tmp_path: Path, flags: list[str]) -> None:
    port = free_port()
    command = ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={tmp_path}/data", *flags]
    program = Program(command, tmp_path)
    store = open_store(f"victoriametrics://127.0.0.1:{port}", tmp_path)
    wait_until(lambda: _up(port), 20, "the server is up")
    with pytest.raises(StoreDown, match="-dedup"):
        store.run_id()
    store.close()
    program.kill()


def _up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_nothing_is_written_to_a_server_whose_clock_is_wrong_and_what_it_got_goes_again(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, right = centre.store.run_id(), time.time
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: right() + 3 * 86_400)  # as if the server were 3 days behind
        centre.store._looked = -1000.0
        with pytest.raises(StoreDown, match="72 hours off"):
            centre.store.run_id()
    centre.store._looked = -1000.0
    assert centre.store.run_id() != before


@pytest.mark.parametrize(
    ("text", "days"), [("1", 31), ("13", 403), ("60d", 60), ("2w", 14), ("5y", 1825), ("48h", 2), ("x", 0)]
)
def test_a_retention_is_read_as_the_server_reads_it(text: str, days: float) -> None:
    assert victoriametrics._days(text) == days
