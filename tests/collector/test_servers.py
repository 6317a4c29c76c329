"""What every store keeps to, on a real VictoriaMetrics and a real InfluxDB."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from answering import PAGE, answering
from running import InfluxDB, Program, VictoriaMetrics, free_port
from storeproxy import StoreProxy

from schoolpulse_agent.wire import group_key
from schoolpulse_collector.record import Record
from schoolpulse_collector.series import Series
from schoolpulse_collector.store import Last, Store, StoreDown, open_store

DAY = 86_400
T = int(time.time()) - 3 * 3600  # a server keeps only what is not too old
STRANGE = [
    "Trường Tiểu học Đống Đa, cơ sở 2",
    "e\u0301 is not é",
    "it's",
    '"quoted"',
    "a,b = c",
    "\\",
    "C:\\",
    "back\\slash",
    "\\,\\=\\ ",
    " spaces ",
    "{}[]()$1%_*?",
    "x" * 128,
    "🏫",
]


class Server:
    """A server of its own for each test, and the stores that are opened on it one after another."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder / "centre"
        self.proxy: StoreProxy | None = None
        self.program: Program = (VictoriaMetrics if kind == "victoriametrics" else InfluxDB)(folder / kind)
        self.port: int = self.program.port
        self.url = f"victoriametrics://127.0.0.1:{self.port}"
        if kind == "influxdb":
            self.proxy = StoreProxy(free_port(), self.port)
            self.url = f"influxdb://127.0.0.1:{self.proxy.port}/schoolpulse"

    def open(self) -> closing[Store]:
        return closing(open_store(self.url, self.folder))

    def flush(self) -> None:
        """Let what was written be seen at once."""
        if self.kind == "victoriametrics":
            httpx.get(f"http://127.0.0.1:{self.port}/internal/force_flush", timeout=20).raise_for_status()

    def stop(self) -> None:
        if self.proxy:
            self.proxy.stop()
        self.program.stop()


@pytest.fixture(params=["victoriametrics", "influxdb"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made = Server(request.param, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    with server.open() as made:
        yield made


def record(seq: int, m: dict[str, dict[str, float]] | None = None, **other: Any) -> Record:
    """Report number seq of device d1, a second after the one before."""
    known: dict[str, Any] = {
        "device": "d1", "epoch": 7, "t": (T + seq) * 1000, "lag": 250, "school": "s", "room": "r", "kind": "lab_pc",
    }  # fmt: skip
    return Record(seq=seq, m={"mem": {"used": float(seq)}} if m is None else m, **known | other)


def ask(store: Store, measurement: str, field: str, *group_by: str, **what: Any) -> list[tuple[Any, ...]]:
    what = {"start": T, "stop": T + 7200, "aggregate": "sum", **what}
    return [(*row.tags, row.value) for row in store.query(Series(measurement, field, group_by=group_by, **what)).rows]


def seqs(store: Store) -> list[float]:
    """The seqs of all stored reports, each as often as it is stored."""

    def each_second(aggregate: str) -> dict[int, float]:
        asked = Series("report", "seq", T, T + 7200, every=1, aggregate=aggregate)
        return {row.t: row.value for row in store.query(asked).rows}

    found, counts = each_second("sum"), each_second("count")
    return [total / counts[t] for t, total in found.items() for _ in range(int(counts[t]))]


# The contract.


def test_what_was_written_is_found_by_question_and_as_last_values(server: Server, store: Store) -> None:
    disk = "disk,path=/home"
    assert store.write([record(1), record(2, {disk: {"used": 1.5, "free": -2.25}}, device="d2", room="")]) == []
    assert store.write([record(3)]) == []
    server.flush()
    assert seqs(store) == [1, 2, 3]
    assert ask(store, "mem", "used", "device", "school", "room", "kind") == [("d1", "s", "r", "lab_pc", 4)]
    assert ask(store, "disk", "free", "device", "room", "path") == [("d2", "", "/home", -2.25)]
    assert ask(store, "report", "lag_ms", aggregate="count") == [(3,)]
    last = list(store.latest())
    assert Last("d1", "mem", (T + 3) * 1000, {"used": 3.0}) in last
    assert Last("d2", disk, (T + 2) * 1000, {"used": 1.5, "free": -2.25}) in last
    assert [row.fields["seq"] for row in sorted(last) if row.group == "report"] == [3, 2]


def test_latest_gives_the_newest_also_when_late_data_is_written_later_and_the_device_moved(server: Server) -> None:
    with server.open() as store:
        store.write([record(5), record(9, room="other")])
        store.write([record(3), record(4, {"swap": {"used": 4.0}})])
        server.flush()
        last = sorted(row for row in store.latest() if row.group != "report")
    assert last == [("d1", "mem", (T + 9) * 1000, {"used": 9.0}), ("d1", "swap", (T + 4) * 1000, {"used": 4.0})]


def test_latest_passes_over_what_somebody_else_wrote_under_the_same_names(server: Server, store: Store) -> None:
    address = server.proxy.url if server.proxy else f"http://127.0.0.1:{server.port}"
    line = f"mem,host=router used=5 {(T + 9) * 1000}"  # as a Telegraf beside us does
    httpx.post(f"{address}/api/v2/write?bucket=schoolpulse&precision=ms", content=line).raise_for_status()
    store.write([record(1)])
    server.flush()
    assert [row for row in store.latest() if row.group == "mem"] == [("d1", "mem", (T + 1) * 1000, {"used": 1.0})]


def test_writing_twice_leaves_one(server: Server) -> None:
    for _ in range(2):
        with server.open() as store:
            for _ in range(2):
                assert store.write([record(1), record(2), record(1)]) == []
            store.write([record(2), record(3)])
            server.flush()
            assert seqs(store) == [1, 2, 3]
            assert ask(store, "mem", "used", aggregate="count") == [(3,)]


def test_received_and_lows_are_the_same_after_a_reopen(server: Server) -> None:
    with server.open() as store:
        store.write([record(seq, low=seq - 1) for seq in (2, 3, 7)] + [record(1, epoch=8, t=(T + 20) * 1000)])
        store.write([record(4, low=2), record(2**53 - 1, device="d2", t=T * 1000, low=2**53 - 1)])
    heard = {seq: (T + seq) * 1000 + 250 for seq in (0, 7, 20)}
    for _ in range(2):
        with server.open() as store:
            ranges = [("d1", 7, 2, 4), ("d1", 7, 7, 7), ("d1", 8, 1, 1), ("d2", 7, 2**53 - 1, 2**53 - 1)]
            assert sorted(store.received()) == ranges
            lows = [("d1", 7, 6, heard[7]), ("d1", 8, 1, heard[20]), ("d2", 7, 2**53 - 1, heard[0])]
            assert sorted(store.lows()) == lows


def test_a_record_without_groups_is_noted_as_received_and_stored_nowhere(server: Server) -> None:
    with server.open() as store:
        assert store.write([record(1), record(2, {}), record(3)]) == []
        assert store.write([record(4, {})]) == []
        assert store.write([]) == []
    server.flush()
    with server.open() as store:
        assert list(store.received()) == [("d1", 7, 1, 4)]
        assert seqs(store) == [1, 3]


@pytest.mark.parametrize("tag", STRANGE)
def test_a_strange_tag_comes_back_and_can_be_asked_for(server: Server, store: Store, tag: str) -> None:
    key = group_key("disk", {"path": tag})
    assert store.write([record(1, {key: {"free": 1.0}, "disk,path=other": {"free": 2.0}}, school=tag, room=tag)]) == []
    server.flush()
    kept = tag.rstrip("\\") if server.kind == "influxdb" else tag  # as its own text says
    assert sorted(ask(store, "disk", "free", "path")) == sorted([(kept, 1), ("other", 2)])
    assert ask(store, "disk", "free", "school", "room") == [(kept, kept, 3)]
    if kept:  # it is no question which rows have no path
        assert ask(store, "disk", "free", where=(("path", "=", kept),)) == [(1,)]
    groups = {row.group for row in store.latest() if row.fields == {"free": 1.0}}
    assert groups == ({group_key("disk", {"path": kept})} if kept else {"disk"})


def test_upkeep_forgets_starts_not_heard_for_35_days_but_each_devices_last(server: Server) -> None:
    left = [("d1", 8, 2, 2), ("d2", 7, 1, 1)]
    with server.open() as store:
        store.write([record(1, {}), record(1, {}, device="d2", t=(T + 60) * 1000), record(2, {}, epoch=8)])
        store.upkeep((T + 35 * DAY + 30) * 1000, T * 1000)  # the spool still holds them all
        assert len(list(store.received())) == 3
        for _ in range(2):
            store.upkeep((T + 35 * DAY + 30) * 1000, 2**62)
            assert sorted(store.received()) == left
    with server.open() as store:
        assert sorted(store.received()) == left
        assert sorted(low[:3] for low in store.lows()) == [("d1", 8, 1), ("d2", 7, 1)]


def test_a_server_that_is_away_is_a_store_that_is_down_and_nothing_counts_as_received(server: Server) -> None:
    with server.open() as store:
        store.write([record(1)])
        server.program.kill()
        for call in (lambda: store.write([record(2)]), lambda: ask(store, "mem", "used"), lambda: list(store.latest())):
            with pytest.raises(StoreDown):
                call()
        assert list(store.received()) == [("d1", 7, 1, 1)]
        server.program.start()
        assert store.write([record(2)]) == []
        server.flush()
        assert 2 in seqs(store)
        assert list(store.received()) == [("d1", 7, 1, 2)]


# Addresses.


@pytest.mark.parametrize(
    "url",
    [
        "victoriametrics:",
        "victoriametrics://",
        "victoriametrics:///path",
        "victoriametrics://host:port",
        "victoriametrics+ftp://host:8428",
        "influxdb://",
        "influxdb://host:8086",
        "influxdb://host:8086/",
        "influxdb:///bucket",
        "influxdb://host:8086/bucket?org=o&token=secret",
        "influxdb://host:8086/bucket?bucket=b",
        "influxdb://host:port/bucket",
        "influxdb+ftp://host:8086/bucket",
    ],
)
def test_a_bad_url_is_a_value_error_that_shows_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="store") as raised:
        open_store(url, tmp_path).close()
    assert repr(url) in str(raised.value)


def test_a_token_comes_from_its_file_and_goes_with_questions_and_writes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("collector:s3cret\n")
    with answering(lambda path: (200, b'{"results":[{}]}') if path == "/query" else (204, b"")) as there:
        url = f"influxdb://127.0.0.1:{there.port}/bucket?org=hcm&token_file={tmp_path}/token"
        with closing(open_store(url, tmp_path)) as store:
            store.write([record(1)])
            assert ask(store, "mem", "used") == []
    write, token = "/api/v2/write?org=hcm&bucket=bucket&precision=ms", "Token collector:s3cret"
    assert there.heard == [(write, token), ("/query", token)]


def test_a_token_file_that_can_not_be_read_is_a_value_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"token_file .*/nothing'.*No such file"):
        open_store(f"influxdb://host:8086/bucket?token_file={tmp_path}/nothing", tmp_path)


@pytest.mark.parametrize("kind", ["victoriametrics", "influxdb"])
@pytest.mark.parametrize("page", [PAGE, b"", b"\xff"])
def test_a_web_page_at_its_address_is_a_store_that_is_down(tmp_path: Path, kind: str, page: bytes) -> None:
    with answering(lambda _: (200, page)) as there:
        path = "/bucket" if kind == "influxdb" else ""
        with closing(open_store(f"{kind}://127.0.0.1:{there.port}{path}", tmp_path)) as store:
            calls = [lambda: ask(store, "mem", "used"), lambda: list(store.latest())]
            for call in [*calls, store.run_id] if kind == "victoriametrics" else calls:
                with pytest.raises(StoreDown):
                    call()
