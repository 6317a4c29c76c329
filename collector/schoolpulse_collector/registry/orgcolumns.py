"""The four tables in which schools and units come and go, and how their header rows are recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schoolpulse_collector.registry import orgvalues
from schoolpulse_collector.registry.model import Membership, Room, School, Unit
from schoolpulse_collector.registry.orgvalues import MEMBERSHIP, ROOM, SCHOOL, UNIT, Read, plain


@dataclass(frozen=True)
class Column:
    """One column. ``refers``: the table in which its value must be a key. ``also``: other headers, as `plain` text."""

    field: str
    vi: str
    read: Read
    also: tuple[str, ...] = ()
    refers: str = ""
    en: str = ""  # header where it is not the field's name

    def header(self, lang: str) -> str:
        """The header that is written."""
        return self.vi if lang == "vi" else self.en or self.field

    def names(self) -> set[str]:
        """All headers by which it is known, as `plain` text."""
        return {plain(self.vi), plain(self.en or self.field), *self.also}


@dataclass(frozen=True)
class Sheet:
    """One table. ``keys``: fields that tell its rows apart; ``needed``: fields without which it is not that table."""

    name: str
    vi: str
    model: type[School | Unit | Room | Membership]
    keys: tuple[str, ...]
    needed: tuple[str, ...]
    columns: tuple[Column, ...]

    def title(self, lang: str) -> str:
        """What the table is called."""
        return self.vi if lang == "vi" else self.name

    def column(self, field: str) -> Column:
        """The column in which a field is written."""
        return next(column for column in self.columns if column.field == field)

    @property
    def fields(self) -> list[str]:
        """The fields that are kept, each once."""
        return list(dict.fromkeys(column.field for column in self.columns))


UNITS = Sheet(
    "units",
    "Đơn vị",
    Unit,
    ("key",),
    ("key", "name", "kind"),
    (
        Column("key", "Mã đơn vị", UNIT["key"], ("unitkey",)),
        Column("name", "Tên đơn vị", UNIT["name"], ("unitname", "ten")),
        Column("kind", "Loại", UNIT["kind"], ("loaidonvi",)),
        Column("parent", "Mã đơn vị cấp trên", UNIT["parent"], ("donvicaptren", "tructhuoc"), "units"),
    ),
)
SCHOOLS = Sheet(
    "schools",
    "Trường",
    School,
    ("key",),
    ("key", "name"),
    (
        Column("key", "Mã trường", SCHOOL["key"], ("schoolkey",)),
        Column("name", "Tên trường", SCHOOL["name"], ("schoolname", "ten")),
        Column("code", "Mã ngành", SCHOOL["code"], ("madinhdanh", "macsdlnganh", "officialcode")),
        Column("level", "Cấp học", SCHOOL["level"], ("cap",)),
        Column("address", "Địa chỉ", SCHOOL["address"]),
        Column("latitude", "Vĩ độ", SCHOOL["latitude"], ("lat",)),
        Column("longitude", "Kinh độ", SCHOOL["longitude"], ("lon", "lng", "long")),
        Column("isp", "Nhà mạng", SCHOOL["isp"]),
        Column("merged_into", "Sáp nhập vào mã trường", SCHOOL["merged_into"], ("sapnhapvao",), "schools"),
    ),
)
MEMBERSHIPS = Sheet(
    "memberships",
    "Trực thuộc",
    Membership,
    ("school", "unit", "valid_from"),
    ("school", "unit"),
    (
        Column("school", "Mã trường", MEMBERSHIP["school"], ("schoolkey",), "schools"),
        Column("unit", "Mã đơn vị", MEMBERSHIP["unit"], ("unitkey",), "units"),
        Column("valid_from", "Từ ngày", MEMBERSHIP["valid_from"], ("from",)),
        Column("valid_to", "Đến trước ngày", MEMBERSHIP["valid_to"]),
        Column("valid_to", "Đến hết ngày", orgvalues.last_day, ("denngay", "until"), en="last_day"),
    ),
)
ROOMS = Sheet(
    "rooms",
    "Phòng",
    Room,
    ("key",),
    ("key", "school", "name"),
    (
        Column("key", "Mã phòng", ROOM["key"], ("roomkey",)),
        Column("school", "Mã trường", ROOM["school"], ("schoolkey",), "schools"),
        Column("name", "Tên phòng", ROOM["name"], ("roomname", "ten")),
    ),
)
SHEETS = (UNITS, SCHOOLS, MEMBERSHIPS, ROOMS)  # what is referred to comes first


class Header(NamedTuple):
    """A recognised header row. ``columns``: position -> column; ``unknown``: position -> header that says nothing."""

    sheet: Sheet
    columns: dict[int, Column]
    unknown: dict[int, str]

    @property
    def doubled(self) -> list[Column]:
        """Columns of a field that another has already."""
        columns = list(self.columns.values())
        return [column for at, column in enumerate(columns) if column.field in {c.field for c in columns[:at]}]


def recognise(cells: Sequence[str]) -> Header | None:
    """What a row heads: the table that has all it needs among these headers and knows most of them; None: nothing."""
    best: Header | None = None
    for sheet in SHEETS:
        by_name = {name: column for column in sheet.columns for name in column.names()}
        found = {at: by_name[plain(cell)] for at, cell in enumerate(cells) if plain(cell) in by_name}
        if not set(sheet.needed) <= {column.field for column in found.values()}:
            continue
        if best is None or _fields(found) > _fields(best.columns):
            unknown = {at: cell for at, cell in enumerate(cells) if cell and at not in found}
            best = Header(sheet, found, unknown)
    return best


def _fields(columns: dict[int, Column]) -> int:
    return len({column.field for column in columns.values()})
