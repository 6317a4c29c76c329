"""Files of schools and units: what they would change, what is wrong in them, and that they come back as they went."""

from __future__ import annotations

import io
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from sqlalchemy import select

from schoolpulse_collector.registry import Refused, Registry, audit, org, orgfile, orgsample, orgsheet
from schoolpulse_collector.registry.model import Audit, Membership, School, Unit
from schoolpulse_collector.registry.orgcolumns import MEMBERSHIPS, ROOMS, SCHOOLS, SHEETS, UNITS, recognise
from schoolpulse_collector.registry.orgfile import Plan
from schoolpulse_collector.registry.orgvalues import KINDS, LEVELS

UNIT_ROWS = "key,name,kind,parent\ncity,Thành phố,thành phố,\nw1,Phường Một,Phường,city\n"
SCHOOL_ROWS = "Mã trường;Tên trường;Cấp học;Vĩ độ\ns1;Trường Một;Tiểu học;10,7769\ns2;Trường Hai;trung học cơ sở;\n"


@contextmanager
def fresh() -> Iterator[Registry]:
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        yield registry
        registry.close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with fresh() as made:
        yield made


def plan(registry: Registry, *files: str | bytes) -> Plan:
    tables = []
    for number, data in enumerate(files, 1):
        tables += orgsheet.read(f"f{number}", data if isinstance(data, bytes) else data.encode())
    with registry.read() as session:
        return orgfile.plan(session, tables)


def take(registry: Registry, *files: str | bytes) -> Plan:
    made = plan(registry, *files)
    assert made.errors == (), [str(error) for error in made.errors]
    with registry.change("system") as change:
        orgfile.apply(change, made)
    return made


def wrong(registry: Registry, *files: str | bytes) -> list[str]:
    return [f"{error.row}: {error.vi}" for error in plan(registry, *files).errors]


def book(sheets: dict[str, list[list[Any]]]) -> bytes:
    made = Workbook()
    made.remove(made.active)
    for title, rows in sheets.items():
        page = made.create_sheet(title)
        for row in rows:
            page.append(row)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


# Reading.


def test_headers_are_known_in_both_languages_whatever_their_case_accents_and_order() -> None:
    assert recognise(["TÊN TRƯỜNG", "ma truong", "Cấp  học"])[0] is SCHOOLS  # type: ignore[index]
    assert recognise(["school", "Unit", "VALID_FROM"])[0] is MEMBERSHIPS  # type: ignore[index]
    assert recognise(["key", "school", "name"])[0] is ROOMS  # type: ignore[index]
    assert recognise(["Mã đơn vị", "Tên đơn vị", "Loại"])[0] is UNITS  # type: ignore[index]
    assert recognise(["name", "colour"]) is None
    for sheet in SHEETS:
        for lang in ("vi", "en"):
            header = recognise([sheet.column(field).header(lang) for field in sheet.fields])
            assert header
            assert header.sheet is sheet
            assert [column.field for column in header.columns.values()] == sheet.fields


@pytest.mark.parametrize("words", [LEVELS, KINDS])
def test_no_word_for_a_level_or_kind_means_two(words: dict[str, tuple[str, ...]]) -> None:
    known = [word for name, others in words.items() for word in {name.replace("_", ""), *others[1:]}]
    assert len(known) == len(set(known))


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
        lambda text: ("Danh sách đơn vị\n\n" + text).encode(),
    ],
)
def test_a_csv_is_read_however_excel_saved_it(registry: Registry, dress: Callable[[str], bytes]) -> None:
    take(registry, dress(UNIT_ROWS))
    with registry.read() as session:
        unit = session.get(Unit, "w1")
        assert unit
        assert (unit.name, unit.kind, unit.parent) == ("Phường Một", "ward", "city")


def test_a_workbook_gives_numbers_dates_and_formulas_by_their_values(registry: Registry) -> None:
    from datetime import datetime

    take(registry, UNIT_ROWS)
    sheets = {
        "Ghi chú": [["Nội dung"], ["của phòng CNTT"]],
        "Trường": [
            ["Danh sách"], [None], ["Mã trường", "Tên trường", "Vĩ độ"], [79000123, "Trường\u00a0Một", 10.7769], [None],
            [5.0, "Tru\u031bo\u031b\u0300ng", "10,5"],
        ],
        "TT": [["school", "unit", "valid_from", "Đến hết ngày"], [79000123, "w1", datetime(2025, 7, 1), "31/12/2026"]],
    }  # fmt: skip
    take(registry, book(sheets))
    with registry.read() as session:
        assert {(school.key, school.name, school.latitude) for school in session.scalars(select(School))} == {
            ("79000123", "Trường Một", 10.7769), ("5", "Trường", 10.5),
        }  # fmt: skip
        row = session.scalars(select(Membership)).one()
        assert (row.valid_from, row.valid_to) == ("2025-07-01", "2027-01-01")


def test_row_numbers_are_those_that_the_spreadsheet_shows(registry: Registry) -> None:
    rows = [["Danh sách"], [None], ["key", "name"], [None], [None], ["bad key", "Tên"], [None], ["s1", None]]
    assert [error.row for error in plan(registry, book({"Trường": rows})).errors] == [6, 8]
    text = 'key,name,address\ns1,"Tên","12\nđường A"\n\nbad key,Tên,\n'
    assert [error.row for error in plan(registry, text).errors] == [4]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no header row"),
        (b"a,b,c\n1,2,3\n", "no header row"),
        ("mã trường,tên trường".encode("utf-16-le"), "no header row|not UTF-8"),
        (b"key,name\ns1,Tr\xfd", "not UTF-8"),
        (b'key,name\ns1,"open', "row 2"),
        (b"\xd0\xcf\x11\xe0 old", r"\.xls"),
        (b"PK\x03\x04 no zip", "damaged"),
        (b"key,name\n" + b"x" * (21 * 2**20), "20 MB"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused_with_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        orgsheet.read("f", data)


def packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in parts.items():
            made.writestr(name, data)
    return out.getvalue()


def changed(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The workbook with its first sheet's XML changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["xl/worksheets/sheet1.xml"] = change(parts["xl/worksheets/sheet1.xml"])
    return packed(parts)


def test_a_workbook_that_unpacks_to_too_much_or_declares_entities_is_refused() -> None:
    good = book({"Trường": [["key", "name"], ["s1", "Tên"]]})
    with pytest.raises(Refused, match="unpacks"):
        orgsheet.read("f", packed({"xl/a.xml": b" " * (orgsheet.MOST_UNPACKED + 1)}))
    for encoding in ("utf-8", "utf-16"):
        entity = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'.encode(encoding)
        with pytest.raises(Refused, match="declarations"):
            orgsheet.read("f", changed(good, lambda _, entity=entity: entity))
    with pytest.raises(Refused, match="can't be read"):
        orgsheet.read("f", packed({"a.txt": b"no workbook"}))


def test_a_workbook_whose_cells_claim_to_be_far_away_ends_soon() -> None:
    good = book({"Trường": [["key", "name"], ["s1", "Tên"], ["s2", "Tên"]]})
    far = changed(good, lambda xml: xml.replace(b'r="3"', b'r="999999999999"').replace(b'"A3"', b'"A999999999999"'))
    assert len(orgsheet.read("f", far)[0].rows) <= 2


# Errors.


def test_every_error_is_told_at_its_row_in_both_languages(registry: Registry) -> None:
    take(registry, UNIT_ROWS)
    schools = (
        "key,name,level,latitude,longitude,merged_into\n"
        "a b,Tên,,,,\ns1,,,,,\ns2,Hai,cấp 9,106.7,x,\ns3,Ba,,,,nowhere\ns4,Bốn,,,,\ns4,Bốn,,,,\ns5,#N/A,,,,\n"
    )
    found = plan(registry, schools).errors
    assert [(error.row, error.column.field if error.column else "") for error in found] == [
        (2, "key"), (3, "name"), (4, "level"), (4, "latitude"), (4, "longitude"), (5, "merged_into"), (7, ""),
        (8, "name"),
    ]  # fmt: skip
    for error in found:
        assert error.vi != error.en
        assert str(error).startswith(f"f1, dòng {error.row}")


def test_memberships_with_unknown_keys_bad_days_or_overlaps_are_errors(registry: Registry) -> None:
    take(registry, UNIT_ROWS, SCHOOL_ROWS)
    rows = (
        "school,unit,valid_from,valid_to\ns9,w1,,\ns1,w9,,\ns1,w1,31/2/2026,\ns1,w1,2026-02-01,2026-01-01\n"
        "s2,w1,2025-01-01,\ns2,w1,2026-01-01,\n"
    )
    assert [error.row for error in plan(registry, rows).errors] == [2, 3, 4, 5, 7]


def test_a_key_that_lost_its_zeros_in_excel_is_recognised(registry: Registry) -> None:
    take(registry, UNIT_ROWS, "key,name\n0079,Tên\n")
    assert "0079" in wrong(registry, "school,unit\n79,w1\n")[0]


def test_circles_of_parents_and_of_mergers_are_errors_at_each_row_of_the_circle(registry: Registry) -> None:
    rows = "key,name,kind,parent\na,A,ward,c\nb,B,ward,a\nc,C,ward,b\nd,D,ward,a\n"
    assert [error.row for error in plan(registry, rows).errors] == [2, 3, 4]
    take(registry, UNIT_ROWS)
    assert [e.row for e in plan(registry, "key,name,kind,parent\ncity,TP,city,w1\n").errors] == [2], (
        "with what is there"
    )
    assert [e.row for e in plan(registry, "key,name,merged_into\na,A,b\nb,B,a\n").errors] == [2, 3]


def test_a_comma_that_pushed_cells_to_the_right_is_an_error(registry: Registry) -> None:
    assert wrong(registry, "key,name,address\ns1,Tên,12 đường A, phường B\n")[0].startswith("2: có ô")


def test_doubled_columns_are_an_error_and_unknown_ones_are_named(registry: Registry) -> None:
    found = plan(registry, "STT,key,name,Ghi chú,Tên trường\n1,s1,Tên,x,Tên\n")
    assert [error.row for error in found.errors] == [1]
    assert list(found.tables[0].header.unknown.values()) == ["STT", "Ghi chú"]


def test_a_room_can_not_move_to_another_school(registry: Registry) -> None:
    take(registry, SCHOOL_ROWS, "key,school,name\nr1,s1,Phòng\n")
    assert wrong(registry, "key,school,name\nr1,s2,Phòng\n")[0].startswith("2: phòng r1")


# Taking over.


def test_a_plan_tells_what_changes_and_changes_nothing(registry: Registry) -> None:
    take(registry, UNIT_ROWS, SCHOOL_ROWS)
    made = plan(registry, "Mã trường,Tên trường,Vĩ độ\ns1,Trường 1,\ns2,Trường Hai,\ns3,Mới,\n")
    assert made.counts() == {"schools": (1, 1, 1)}
    assert list(map(str, made.changes)) == [
        "~ Trường s1 Trường 1: Tên trường: Trường Một → Trường 1; Vĩ độ: 10.7769 → (trống)",
        "+ Trường s3 Mới",
    ]
    with registry.read() as session:
        school = session.get(School, "s1")
        assert school
        assert (school.name, school.level) == ("Trường Một", "tieu_hoc")
        assert session.get(School, "s3") is None


def test_columns_and_rows_that_a_file_lacks_stay_as_they_are(registry: Registry) -> None:
    take(registry, UNIT_ROWS, SCHOOL_ROWS)
    take(registry, "key,name\ns1,Trường 1\n")
    with registry.read() as session:
        school = session.get(School, "s1")
        assert school
        assert (school.name, school.level, school.latitude) == ("Trường 1", "tieu_hoc", 10.7769)
        assert session.get(School, "s2")


def test_each_change_is_audited_and_the_import_too(registry: Registry) -> None:
    take(registry, SCHOOL_ROWS, UNIT_ROWS, "school,unit\ns1,w1\n")
    take(registry, "key,name\ns1,Trường 1\n")
    with registry.read() as session:
        assert audit.verify(session)[2] is None
        actions = [row.action for row in audit.rows(session)]
    assert actions == [
        "unit.add", "unit.add", "school.add", "school.add", "membership.add", "org.import", "school.rename",
        "org.import",
    ]  # fmt: skip


def test_new_units_may_stand_below_units_further_down_in_any_file(registry: Registry) -> None:
    take(registry, "key,name,kind,parent\nc,C,ward,b\nb,B,ward,a\n", "key,name,kind,parent\na,A,city,\nd,D,ward,c\n")
    with registry.read() as session:
        assert {unit.key for unit in session.scalars(select(Unit))} == {"a", "b", "c", "d"}


def test_a_plan_with_errors_or_made_before_another_change_is_refused_whole(registry: Registry) -> None:
    take(registry, SCHOOL_ROWS)
    faulty = plan(registry, "key,name\ns5,Tên\nbad key,Tên\n")
    stale = plan(registry, "key,name\ns1,Trường 1\ns6,Tên\n")
    with registry.change("system") as change:
        org.rename_school(change, "s1", "Trường khác")
    for made in (faulty, stale):
        with pytest.raises(Refused), registry.change("system") as change:
            orgfile.apply(change, made)
    with registry.read() as session:
        assert {school.key for school in session.scalars(select(School))} == {"s1", "s2"}
        assert not list(session.scalars(select(Audit).where(Audit.action == "org.import").where(Audit.seq > 4)))


def test_the_sample_is_good_says_what_is_made_up_and_comes_back(registry: Registry) -> None:
    take(registry, orgsheet.to_xlsx(orgsample.tables()))
    with registry.read() as session:
        assert len(list(session.scalars(select(Unit).where(Unit.kind == "cluster")))) == 16
        schools = list(session.scalars(select(School)))
        assert len(schools) == 40
        assert all("(giả định)" in school.name for school in schools)
        assert {school.level for school in schools} == set(LEVELS)
        assert org.schools_below(session, ["tphcm"], "2026-11-24") == {school.key for school in schools}


# Properties.

KEYS = st.from_regex(r"\A[A-Za-z0-9_-]{1,8}\Z")
NAMES = st.one_of(
    st.sampled_from(["=1+1", "'=x", "''@", "-5", "+84", "@a", "'", '"', "a;b,c d", "＝x", "TRUE", "007"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=30),
)  # fmt: skip
DAYS = st.sampled_from(["", "1999-12-31", "2025-07-01", "2026-01-01"])


@st.composite
def orgs(draw: st.DrawFn) -> Callable[[Registry], None]:
    units, schools = draw(st.lists(KEYS, unique=True, max_size=4)), draw(st.lists(KEYS, unique=True, max_size=4))
    named = {key: draw(NAMES) for key in [*units, *schools]}
    degrees = st.one_of(st.none(), st.floats(-90, 90, allow_nan=False))
    places = {key: (draw(degrees), draw(st.sampled_from(["", *LEVELS])), draw(NAMES)) for key in schools}
    periods = draw(st.lists(st.tuples(st.sampled_from(schools), st.sampled_from(units), DAYS, DAYS), max_size=5)) if (
        units and schools
    ) else []  # fmt: skip
    dice = random.Random(draw(st.integers(0, 99)))

    def build(registry: Registry) -> None:
        for number, key in enumerate(units):
            attempt(
                registry,
                org.put_unit,
                key,
                named[key] or "x",
                dice.choice(list(KINDS)),
                dice.choice([None, *units[:number]]),
            )
        for key in schools:
            latitude, level, address = places[key]
            attempt(registry, org.put_school, key, named[key] or "x", latitude=latitude, level=level, address=address)
            attempt(registry, org.put_room, key, key, named[key] or "x")
        for period in periods:
            attempt(registry, org.join, *period)
        if len(schools) > 1:
            attempt(registry, org.merge_school, schools[0], schools[1])

    return build


def attempt(registry: Registry, work: Callable[..., Any], *values: Any, **more: Any) -> None:
    try:
        with registry.change("system") as change:
            work(change, *values, **more)
    except Refused:
        pass


@settings(max_examples=10, deadline=None)
@given(orgs(), st.sampled_from(["vi", "en"]))
def test_what_was_exported_changes_nothing_and_builds_the_same_elsewhere(
    build: Callable[[Registry], None], lang: str
) -> None:
    with fresh() as registry:
        build(registry)
        with registry.read() as session:
            found = orgfile.export(session)
        files = [orgsheet.to_csv(sheet, rows, lang) for sheet, rows in found]
        for copy in (files, [orgsheet.to_xlsx(found, lang)]):
            made = plan(registry, *copy)
            assert (made.errors, made.changes) == ((), ())
            with fresh() as other:
                take(other, *copy)
                with other.read() as session:
                    assert orgfile.export(session) == found


@given(NAMES)
def test_no_csv_cell_begins_as_a_formula(name: str) -> None:
    line = orgsheet.to_csv(UNITS, [(name, name, "ward", None)]).decode("utf-8-sig").splitlines()[1]
    assert not line.strip('"').startswith(("=", "+", "-", "@"))


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["key", "name", "s1", "Mã trường", "31/12/2026", "10,5", "ward", "", "=1", "w1"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, max_size=8), max_size=6), st.sampled_from(list(SHEETS)))
def test_any_cells_give_a_plan(cells: list[list[str]], sheet: Any) -> None:
    header = [column.vi for column in sheet.columns]
    rows = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *cells])
    try:
        tables = orgsheet.read("f", rows.encode(errors="replace"))
    except Refused:
        return
    with EMPTY.read() as session:
        for error in orgfile.plan(session, tables).errors:
            assert error.row >= 1


EMPTY = Registry("sqlite://")


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode), st.binary().map(lambda b: b"PK" + b)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for begin in (b"", b"key,name\n", b"sep=;\nkey;name\n"):
        with suppress(Refused):
            orgsheet.read("f", begin + data)


GOOD = book({"Trường": [["key", "name"], ["s1", "Tên"], [5, 7.5]]})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_workbook_is_read_or_refused(at: int, damage: bytes) -> None:
    with suppress(Refused):
        orgsheet.read("f", GOOD[:at] + damage + GOOD[at + len(damage) :])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_workbook_of_damaged_xml_is_read_or_refused(data: st.DataObject) -> None:
    def harm(xml: bytes) -> bytes:
        at = data.draw(st.integers(0, len(xml) - 1))
        return xml[:at] + data.draw(st.sampled_from([b"9", b"-", b"<", b"", b"1e999", b"Z"])) + xml[at + 1 :]

    with suppress(Refused):
        orgsheet.read("f", changed(GOOD, harm))
