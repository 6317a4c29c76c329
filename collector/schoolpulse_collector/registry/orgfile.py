"""Schools and units from files: first a plan of what would change and all that is wrong, then all of it or nothing.

Nothing is deleted by an import: what a file does not name stays as it is, and so does a column that a file lacks. An
empty cell of a column that is there empties the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import Change, Refused, org, orgsheet
from schoolpulse_collector.registry.orgcolumns import SHEETS, Sheet
from schoolpulse_collector.registry.orgrules import Given, Place, broken
from schoolpulse_collector.registry.orgsheet import Problem, Table
from schoolpulse_collector.registry.orgvalues import Wrong


@dataclass(frozen=True)
class Edit:
    """One row that an import adds (``before`` is None) or changes; ``before`` and ``after`` hold what differs."""

    sheet: str
    key: tuple[str, ...]
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any]
    table: str
    row: int

    def text(self, lang: str) -> str:
        """One line: ``+`` what is new, ``~`` what changes from what to what."""
        sheet = next(sheet for sheet in SHEETS if sheet.name == self.sheet)
        head = f"{sheet.title(lang)} {' / '.join(part for part in self.key if part)} {self.name}".rstrip()
        if self.before is None:
            return f"+ {head}"
        empty = "(trống)" if lang == "vi" else "(empty)"
        shown = [
            f"{sheet.column(field).header(lang)}: {_or(self.before[field], empty)} → {_or(value, empty)}"
            for field, value in self.after.items()
        ]
        return f"~ {head}: {'; '.join(shown)}"

    def __str__(self) -> str:
        return self.text("vi")


@dataclass(frozen=True)
class Plan:
    """What an import would do. With ``errors`` it can't be applied. ``unchanged``: rows of each sheet."""

    tables: tuple[Table, ...]
    changes: tuple[Edit, ...]
    errors: tuple[Problem, ...]
    unchanged: dict[str, int]

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Sheet -> rows added, changed, unchanged; only sheets that the files have."""
        added = Counter(edit.sheet for edit in self.changes if edit.before is None)
        changed = Counter(edit.sheet for edit in self.changes if edit.before is not None)
        present = {table.header.sheet.name for table in self.tables}
        return {s.name: (added[s.name], changed[s.name], self.unchanged[s.name]) for s in SHEETS if s.name in present}


def plan_from_bytes(name: str, data: bytes, session: Session) -> Plan:
    """The plan for one file that somebody sent. Raises Refused if it can't be read; a retry can't help."""
    return plan(session, orgsheet.read(name, data))


def plan(session: Session, tables: Sequence[Table]) -> Plan:
    """What taking over these tables would change, and everything that keeps them from it. Changes nothing."""
    known = {sheet.name: dict(_known(session, sheet)) for sheet in SHEETS}
    given: dict[str, dict[tuple[str, ...], Given]] = {sheet.name: {} for sheet in SHEETS}
    problems = [problem for table in tables for problem in table.problems]
    for table in tables:
        problems += _take(table, given[table.header.sheet.name])
    problems += broken(known, given)
    edits, unchanged = list[Edit](), Counter[str]()
    for sheet in SHEETS:
        for key, row in given[sheet.name].items():
            if edit := _edit(sheet, key, row, known[sheet.name].get(key)):
                edits.append(edit)
            else:
                unchanged[sheet.name] += 1
    order = {table.name: number for number, table in enumerate(tables)}
    problems.sort(key=lambda problem: (order[problem.table], problem.row))
    counted = {sheet.name: unchanged[sheet.name] for sheet in SHEETS}
    return Plan(tuple(tables), tuple(_parents_first(edits)), tuple(dict.fromkeys(problems)), counted)


def apply(change: Change, planned: Plan, progress: Callable[[int, int], None] = lambda done, all_: None) -> None:
    """Do all of a plan, or raise Refused and do nothing: it has errors, or the registry is another by now."""
    fresh = plan(change.session, planned.tables)
    if fresh.errors:
        count = len(fresh.errors)
        raise Refused(f"còn {count} lỗi, chưa ghi gì: sửa tệp · {count} errors, nothing written: correct the file")
    if fresh.changes != planned.changes:
        raise Refused("dữ liệu vừa thay đổi, chưa ghi gì: chạy thử lại · data changed meanwhile: make a new dry run")
    done = 0
    for sheet in SHEETS:
        edits = [edit for edit in fresh.changes if edit.sheet == sheet.name]
        rows = {} if all(edit.before is None for edit in edits) else _rows(change.session, sheet)
        for edit in edits:
            if edit.before is None:
                values = dict(zip(sheet.keys, edit.key, strict=True)) | edit.after
                org.add(change, sheet.model(**values))
            else:
                org.alter(change, rows[edit.key], edit.after)
            done += 1
            progress(done, len(fresh.changes))
        change.session.flush()  # the next table refers to this one
    counts = {name: {"added": added, "changed": changed} for name, (added, changed, _) in fresh.counts().items()}
    change.note("org.import", "org:import", files=[table.name for table in fresh.tables], counts=counts)


def export(session: Session) -> list[tuple[Sheet, list[tuple[Any, ...]]]]:
    """Everything, in the order of each sheet's fields: what `orgsheet.to_csv` and `to_xlsx` write."""
    return [(sheet, [tuple(row.values()) for _, row in sorted(_known(session, sheet))]) for sheet in SHEETS]


def xlsx(session: Session, lang: str = "vi") -> bytes:
    """Everything as one XLSX file."""
    return orgsheet.to_xlsx(export(session), lang)


def _or(value: Any, empty: str) -> str:
    return empty if value in ("", None) else str(value)


def _take(table: Table, given: dict[tuple[str, ...], Given]) -> Iterator[Problem]:
    """Read the rows of a table into ``given``; what can't be read is told."""
    sheet, columns = table.header.sheet, table.header.columns
    for number, cells in table.rows:
        values, wrong = dict[str, Any](), set[str]()
        for at, column in columns.items():
            try:
                values[column.field] = column.read(cells[at] if at < len(cells) else "")
            except Wrong as why:
                wrong.add(column.field)
                yield Problem(table.name, number, column, why.vi, why.en)
        if wrong & set(sheet.keys):
            continue
        key = tuple(values.get(field, "") for field in sheet.keys)
        if first := given.get(key):
            vi = f"trùng mã {'/'.join(key)} với dòng {first.place.row} của {first.place.table}: bỏ một dòng"
            en = f"the same as row {first.place.row} of {first.place.table}: remove one"
            yield Problem(table.name, number, None, vi, en)
        else:
            given[key] = Given(Place(table.name, number), values)


def _edit(sheet: Sheet, key: tuple[str, ...], row: Given, known: dict[str, Any] | None) -> Edit | None:
    name = str(row.values.get("name", ""))
    if known is None:
        after = {
            field: value for field, value in row.values.items() if field not in sheet.keys and value not in ("", None)
        }
        return Edit(sheet.name, key, name, None, after, *row.place)
    after = {field: value for field, value in row.values.items() if known[field] != value}
    before = {field: known[field] for field in after}
    return Edit(sheet.name, key, name or str(known.get("name", "")), before, after, *row.place) if after else None


def _parents_first(edits: list[Edit]) -> Iterator[Edit]:
    """A new unit after the new unit that it is below, and changes of units after all new ones."""
    new = {edit.key[0]: edit for edit in edits if edit.sheet == "units" and edit.before is None}
    done = set[str]()
    for key in new:
        way, at = dict[str, None](), key
        while at in new and at not in done and at not in way:
            way[at] = None
            at = new[at].after.get("parent", "")
        yield from (new[one] for one in reversed(way))
        done.update(way)
    yield from (edit for edit in edits if not (edit.sheet == "units" and edit.before is None))


def _known(session: Session, sheet: Sheet) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    columns = [sheet.model.__table__.c[field] for field in sheet.fields]
    for row in session.execute(select(*columns)):
        values = dict(zip(sheet.fields, row, strict=True))
        yield tuple(values[field] for field in sheet.keys), values


def _rows(session: Session, sheet: Sheet) -> dict[tuple[str, ...], Any]:
    return {tuple(getattr(row, f) for f in sheet.keys): row for row in session.scalars(select(sheet.model))}
