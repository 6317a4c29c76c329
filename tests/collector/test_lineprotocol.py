"""Line protocol says a record as it is, and a line that a server will never take costs no other line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from answering import PAGE, answering
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import InfluxDB, free_port
from storeproxy import StoreProxy

from schoolpulse_agent.wire import group_key
from schoolpulse_collector import lineprotocol
from schoolpulse_collector.lineprotocol import Line, LineWriter, render
from schoolpulse_collector.record import Record, decode, encode
from schoolpulse_collector.store import StoreDown
from schoolpulse_collector.stores import influxdb, victoriametrics

T = 1_795_449_600_000  # milliseconds
SERVERS = {"victoriametrics": victoriametrics._backslashes, "influxdb": influxdb._backslashes}
Point = tuple[str, dict[str, str], dict[str, float], int]  # measurement, tags, fields, milliseconds


def record(seq: int = 1, m: dict[str, dict[str, float]] | None = None, **other: str) -> Record:
    known = {"device": "d1", "school": "s", "room": "r", "kind": "lab_pc", **other}
    return Record(epoch=7, seq=seq, t=T + seq, lag=250, m={"mem": {"used": 1.5}} if m is None else m, **known)


def texts(*records: Record, server: str = "victoriametrics") -> list[str]:
    lines, refusals = render(records, SERVERS[server])
    assert refusals == []
    return [line.text.decode() for line in lines]


def parse(text: str, server: str) -> Point:
    """Read one line as this server does: what a backslash stands before tells them apart."""
    escapes = ",= \\" if server == "victoriametrics" else ",= "
    parts, ends, at = [""], "", 0
    while (char := text[at]) != " ":
        if char == "\\" and text[at + 1] in escapes:
            parts[-1] += text[at + 1]
            at += 1
        elif char in ",=":
            parts.append("")
            ends += char
        else:
            parts[-1] += char
        at += 1
    assert ends == ",=" * (len(ends) // 2)  # measurement,tag=value,tag=value
    fields, _, when = text[at + 1 :].partition(" ")
    values = {name: float(value) for name, _, value in (field.partition("=") for field in fields.split(","))}
    return parts[0], dict(zip(parts[1::2], parts[2::2], strict=True)), values, int(when)


# Rendering.


def test_a_record_becomes_a_line_of_report_and_one_for_each_group_with_tags_in_order_of_name() -> None:
    assert texts(record(m={"disk,path=/": {"free": 1.0, "total": 2.5}, "mem": {"used": 3.0}})) == [
        f"report,device=d1,kind=lab_pc,room=r,school=s epoch=7.0,seq=1.0,lag_ms=250.0 {T + 1}",
        f"disk,device=d1,kind=lab_pc,path=/,room=r,school=s free=1.0,total=2.5 {T + 1}",
        f"mem,device=d1,kind=lab_pc,room=r,school=s used=3.0 {T + 1}",
    ]


def test_a_record_without_groups_has_no_line() -> None:
    assert texts(record(m={}), record(2)) == texts(record(2))


def test_an_empty_tag_is_left_out() -> None:
    assert [",room=" in text for text in texts(record(room=""))] == [False, False]


@pytest.mark.parametrize("server", SERVERS)
def test_commas_spaces_and_equals_signs_of_a_tag_are_escaped(server: str) -> None:
    text = texts(record(school="Trường A, lớp=1"), server=server)[1]
    assert text == f"mem,device=d1,kind=lab_pc,room=r,school=Trường\\ A\\,\\ lớp\\=1 used=1.5 {T + 1}"


def test_a_backslash_is_doubled_for_victoriametrics_and_dropped_at_the_end_for_influxdb() -> None:
    drive = record(m={group_key("disk", {"path": "C:\\x\\"}): {"free": 1.0}}, room="\\")
    assert "path=C:\\\\x\\\\,room=\\\\,school" in texts(drive, server="victoriametrics")[1]
    assert "path=C:\\x,school" in texts(drive, server="influxdb")[1]


def test_the_same_record_gives_the_same_bytes_also_after_the_spool_and_whatever_was_rendered_before() -> None:
    groups = {group_key("disk", {"path": "/", "fstype": "ext4"}): {"free": 0.1, "total": 3.0}}
    before = texts(record(m=groups, school="é"))
    lineprotocol._head.cache_clear()
    assert texts(record(m={"x": {"y": 1.0}}), decode(encode(record(m=groups, school="é"))))[2:] == before


@pytest.mark.parametrize("group", ["report", "report,path=/"])
def test_a_group_named_report_is_refused_and_the_others_rendered(group: str) -> None:
    bad = record(m={group: {"seq": 99.0}, "reports": {"n": 1.0}})
    lines, refusals = render([bad], SERVERS["influxdb"])
    assert [(refusal.record, refusal.group) for refusal in refusals] == [(bad, group)]
    assert [line.group for line in lines] == ["report", "reports"]
    assert b"seq=1.0" in lines[0].text


def test_a_group_of_another_version_is_refused_and_the_others_rendered() -> None:
    lines, refusals = render([record(m={"No Name": {"n": 1.0}, "mem": {"used": 1.0}}), record(2)], SERVERS["influxdb"])
    assert [(refusal.record.seq, refusal.group) for refusal in refusals] == [(1, "No Name")]
    assert [(line.record.seq, line.group) for line in lines] == [(1, "report"), (1, "mem"), (2, "report"), (2, "mem")]


printable = st.characters(codec="utf-8").filter(str.isprintable)
values = st.text(r"\,= ạộễ/:'" + '"', max_size=8) | st.text(printable, max_size=40)
names = st.text("az09_", max_size=8).map("q".__add__)
groups = st.builds(group_key, names, st.dictionaries(names, values.filter(len), max_size=4))
fields = st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


@pytest.mark.parametrize("server", SERVERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(group=groups, fields=fields, device=values.filter(lambda text: text.strip("\\")), school=values, room=values)
def test_what_is_rendered_is_read_as_it_was(
    server: str, group: str, fields: dict[str, float], device: str, school: str, room: str
) -> None:
    made = record(m={group: fields}, device=device, school=school, room=room)
    measurement, own = lineprotocol.split_group(group)
    told = {"device": device, "school": school, "room": room, "kind": "lab_pc", **dict(own)}
    if server == "influxdb":
        told = {tag: value.rstrip("\\") for tag, value in told.items()}
    report, point = (parse(text, server) for text in texts(made, server=server))
    assert point == (measurement, {tag: value for tag, value in told.items() if value}, fields, made.t)
    assert report[0] == "report" and report[2:] == ({"epoch": 7, "seq": 1, "lag_ms": 250}, made.t)


# Writing, to a real InfluxDB.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    program = InfluxDB(tmp_path_factory.mktemp("influxdb"))
    yield program
    program.stop()


@pytest.fixture
def proxy(server: InfluxDB) -> Iterator[StoreProxy]:
    made = StoreProxy(free_port(), server.port)
    yield made
    made.stop()


@pytest.fixture
def writer(proxy: StoreProxy) -> Iterator[LineWriter]:
    with closing(LineWriter(proxy.url, "schoolpulse", "-", "-")) as made:
        yield made


NUMBERS = itertools.count()


def many(count: int) -> tuple[str, list[Line]]:
    """So many lines of a measurement of their own."""
    name = f"x{next(NUMBERS)}"
    lines, _ = render([record(seq, {name: {"v": float(seq)}}) for seq in range(1, count + 1)], SERVERS["influxdb"])
    return name, [line for line in lines if line.group == name]


def stored(server: InfluxDB, name: str, field: str = "v") -> list[float]:
    query = {"db": "schoolpulse", "q": f'select "{field}" from {name}', "epoch": "ms"}
    (found,) = httpx.get(f"http://127.0.0.1:{server.port}/query", params=query).raise_for_status().json()["results"]
    return [row[1] for series in found.get("series", ()) for row in series["values"]]


@pytest.mark.parametrize("post_lines", [10_000, 700])
def test_all_lines_are_stored(
    writer: LineWriter, server: InfluxDB, monkeypatch: pytest.MonkeyPatch, post_lines: int
) -> None:
    monkeypatch.setattr(lineprotocol, "POST_LINES", post_lines)
    name, lines = many(3000)
    assert writer.write(lines) == []
    assert stored(server, name) == list(range(1, 3001))
    assert writer.write([]) == []


@pytest.mark.parametrize("bad", [1, 1234, 3000])
def test_one_poisoned_line_of_thousands_is_returned_and_all_others_are_stored(
    writer: LineWriter, proxy: StoreProxy, server: InfluxDB, bad: int
) -> None:
    name, lines = many(3000)
    proxy.poison = b"v=%d.0 " % bad
    (refusal,) = writer.write(lines)
    assert (refusal.record.seq, refusal.group) == (bad, name)
    assert "refused" in refusal.reason
    assert stored(server, name) == [seq for seq in range(1, 3001) if seq != bad]


def test_a_number_where_the_server_has_text_is_refused_by_the_server_itself_and_by_name(
    writer: LineWriter, proxy: StoreProxy, server: InfluxDB
) -> None:
    name, lines = many(500)
    httpx.post(f"{proxy.url}/api/v2/write?bucket=schoolpulse&precision=ms", content=f'{name} odd="text" {T}')
    odd, _ = render([record(seq, {name: {"odd": 1.0}}) for seq in (601, 602)], SERVERS["influxdb"])
    refusals = writer.write([*lines[:250], odd[1], *lines[250:], odd[3]])
    assert [refusal.record.seq for refusal in refusals] == [601, 602]
    assert all("type" in refusal.reason for refusal in refusals)
    assert stored(server, name) == list(range(1, 501))


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_answer_that_is_not_about_the_lines_is_a_store_that_is_down(
    writer: LineWriter, proxy: StoreProxy, server: InfluxDB, status: int
) -> None:
    name, lines = many(10)
    proxy.down = status
    for _ in range(2):
        with pytest.raises(StoreDown, match=f"{proxy.url} answers {status}"):
            writer.write(lines)
    proxy.down = 0
    assert writer.write(lines) == []
    assert stored(server, name) == list(range(1, 11))


def test_a_refused_connection_is_a_store_that_is_down() -> None:
    with closing(LineWriter(f"http://127.0.0.1:{free_port()}", "b", "-", "-")) as writer, pytest.raises(StoreDown):
        writer.write(many(10)[1])


def test_no_answer_and_a_cut_one_are_a_store_that_is_down_and_what_goes_again_is_there_once(
    proxy: StoreProxy, server: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineprotocol, "TIMEOUT", 200)
    name, lines = many(10)
    with closing(LineWriter(proxy.url, "schoolpulse", "-", "-")) as writer:
        proxy.delay = 1.0
        with pytest.raises(StoreDown, match=proxy.url):
            writer.write(lines)
        proxy.delay, proxy.cut_answers = 0.0, True
        with pytest.raises(StoreDown, match=proxy.url):
            writer.write(lines)
        proxy.cut_answers = False
        assert writer.write(lines) == []
    assert stored(server, name) == list(range(1, 11))


def test_a_limit_of_the_server_is_a_store_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUXDB_DATA_MAX_VALUES_PER_TAG", "5")
    limited = InfluxDB(tmp_path)
    proxy = StoreProxy(free_port(), limited.port)
    lines, _ = render([record(seq, device=f"d{seq}") for seq in range(1, 9)], SERVERS["influxdb"])
    with closing(LineWriter(proxy.url, "schoolpulse", "-", "-")) as writer:
        assert writer.write(lines[:10]) == []  # of five devices
        for some in (lines, lines[-1:]):
            with pytest.raises(StoreDown, match="exceeded"):
                writer.write(some)
    proxy.stop()
    limited.stop()


@contextmanager
def always(status: int, content: bytes) -> Iterator[LineWriter]:
    with answering(lambda _: (status, content)) as there:
        writer = LineWriter(f"http://127.0.0.1:{there.port}", "b", "-", "-")
        yield writer
        writer.close()


def test_a_web_page_is_no_word_that_lines_are_stored() -> None:
    with always(200, PAGE) as writer, pytest.raises(StoreDown):
        writer.write(many(3)[1])


@pytest.mark.parametrize("status", [413, 422])
def test_a_status_about_the_lines_is_a_refusal_of_each(status: int) -> None:
    with always(status, b"too much") as writer:
        refusals = writer.write(many(5)[1])
    assert [(refusal.record.seq, refusal.reason) for refusal in refusals] == [(seq, "too much") for seq in range(1, 6)]
