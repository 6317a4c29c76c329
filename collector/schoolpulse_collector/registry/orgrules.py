"""What must hold between the rows of an import, and between them and what is there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from schoolpulse_collector.registry.orgcolumns import MEMBERSHIPS, ROOMS, SCHOOLS, SHEETS, UNITS, Sheet
from schoolpulse_collector.registry.orgsheet import Problem

Key = tuple[str, ...]


class Place(NamedTuple):
    """Where a person finds a row."""

    table: str
    row: int


class Given(NamedTuple):
    """One row of a file: the fields that could be read."""

    place: Place
    values: dict[str, Any]


Known = Mapping[str, Mapping[Key, dict[str, Any]]]  # sheet -> key -> fields
Files = Mapping[str, Mapping[Key, Given]]


def broken(known: Known, given: Files) -> Iterator[Problem]:
    """Every rule that does not hold, at a row of the files."""
    yield from _unknown(known, given)
    yield from _circles(known, given, UNITS, "parent")
    yield from _circles(known, given, SCHOOLS, "merged_into")
    yield from _moved_rooms(known, given)
    yield from _periods(known["memberships"], given["memberships"])


def _unknown(known: Known, given: Files) -> Iterator[Problem]:
    """What is referred to is there, or comes with the files."""
    there = {name: {key[0] for key in (*known[name], *given[name])} for name in ("units", "schools")}
    short = {name: {key.lstrip("0"): key for key in keys if key.startswith("0")} for name, keys in there.items()}
    titles = {sheet.name: sheet.vi for sheet in SHEETS}
    for sheet in SHEETS:
        for column in (column for column in sheet.columns if column.refers):
            for row in given[sheet.name].values():
                wanted = row.values.get(column.field)
                if not wanted or wanted in there[column.refers]:
                    continue
                vi = f"không có mã {wanted} trong bảng {titles[column.refers]}: thêm vào bảng đó hoặc sửa mã"
                en = f"there is no {wanted} among the {column.refers}: add it there or correct the key"
                if near := short[column.refers].get(wanted.lstrip("0")):
                    vi += f"; có mã {near}: Excel đã bỏ số 0 ở đầu?"
                    en += f"; there is {near}: did Excel drop the zeros?"
                yield Problem(*row.place, column, vi, en)


def _circles(known: Known, given: Files, sheet: Sheet, field: str) -> Iterator[Problem]:
    above = {key[0]: row[field] for key, row in known[sheet.name].items()}
    above |= {key[0]: row.values[field] for key, row in given[sheet.name].items() if field in row.values}
    done = set[str]()
    for key in above:
        way, at = dict[str, None](), key
        while at and at not in done and at not in way:
            way[at] = None
            at = above.get(at) or ""
        circle = list(way)[list(way).index(at) :] if at in way else []
        done.update(way)
        shown = " → ".join([*circle[:8], *(["..."] if len(circle) > 8 else []), *circle[:1]])
        vi, en = f"thành vòng: {shown}; sửa một trong các dòng này", f"a circle: {shown}; correct one of these rows"
        for row in (given[sheet.name][(one,)] for one in circle if (one,) in given[sheet.name]):
            yield Problem(*row.place, sheet.column(field), vi, en)


def _moved_rooms(known: Known, given: Files) -> Iterator[Problem]:
    for key, row in given["rooms"].items():
        was = known["rooms"].get(key)
        if was and row.values.get("school", was["school"]) != was["school"]:
            vi = f"phòng {key[0]} thuộc trường {was['school']} và không chuyển trường được: thêm phòng mới với mã khác"
            en = f"room {key[0]} is of school {was['school']} and stays there: add a new room of another key"
            yield Problem(*row.place, ROOMS.column("school"), vi, en)


def _periods(known: Mapping[Key, dict[str, Any]], given: Mapping[Key, Given]) -> Iterator[Problem]:
    """A period ends after it begins, and two of one school in one unit don't overlap."""
    column = MEMBERSHIPS.column("valid_to")
    ends = {key: row["valid_to"] for key, row in known.items()}
    ends |= {key: row.values.get("valid_to", ends.get(key, "")) for key, row in given.items()}
    for key, row in given.items():
        start, end = key[2], ends[key]
        if end and start >= end:
            vi, en = f"{end} phải sau {start}: sửa ngày", f"{end} must be after {start}: correct the days"
            yield Problem(*row.place, column, vi, en)
    ordered = sorted(ends)
    for earlier, later in pairwise(ordered):
        until, wrong = ends[earlier], given.get(later) or given.get(earlier)
        if earlier[:2] == later[:2] and (not until or until > later[2]) and wrong:
            since = earlier[2] or "..."
            vi = f"trùng thời gian: từ {since} đến {until or '...'} và từ {later[2]}; ghi ngày kết thúc cho lần trước"
            en = f"overlap: from {since} to {until or '...'} and from {later[2]}; give the earlier one an end"
            yield Problem(*wrong.place, column, vi, en)
