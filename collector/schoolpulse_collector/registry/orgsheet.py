"""CSV and XLSX files as tables of text, and tables as such files.

A spreadsheet runs a cell that begins with ``=``; so a CSV cell beginning so (or with + - @) is written with an
apostrophe before it, which reading takes away again (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from schoolpulse_collector.registry import Refused
from schoolpulse_collector.registry.orgcolumns import SHEETS, Column, Header, Sheet, recognise
from schoolpulse_collector.registry.orgvalues import KINDS, LEVELS, format_number

MOST_BYTES = 20 * 2**20  # of a file
MOST_UNPACKED = 100 * 2**20  # of what an XLSX holds: 3,600 schools with 100,000 rooms are 25 MB
MOST_ROWS, MOST_COLUMNS, MOST_SHEETS = 200_000, 60, 20
EXCEL_ROWS = 2**20
TITLE_ROWS = 10  # a header row may stand below a title
_MARKED = re.compile(r"'*[=+\-@＝＋－＠]")
_UNMARK = re.compile(r"'+[=+\-@＝＋－＠]")
Lines = Iterator[tuple[int, list[str]]]  # row numbers as the spreadsheet shows them


@dataclass(frozen=True)
class Problem:
    """Something that keeps a file from being taken over: where a person finds it, why, and what to do."""

    table: str  # the file, and the sheet in it
    row: int  # as a spreadsheet numbers it
    column: Column | None  # None: the whole row
    vi: str
    en: str

    def text(self, lang: str) -> str:
        """Where, why and what to do, in one language."""
        row = f"dòng {self.row}" if lang == "vi" else f"row {self.row}"
        column = f", {self.column.header(lang)}" if self.column else ""
        return f"{self.table}, {row}{column}: {self.vi if lang == 'vi' else self.en}"

    def __str__(self) -> str:
        return f"{self.text('vi')} · {self.text('en')}"


@dataclass(frozen=True)
class Table:
    """One table of a file. ``rows``: number in the spreadsheet and the cells by position."""

    name: str
    header: Header
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    problems: tuple[Problem, ...]


def read(name: str, data: bytes) -> list[Table]:
    """The tables in a CSV or XLSX file. Raises Refused if it can't be read or holds none."""
    if len(data) > MOST_BYTES:
        raise Refused(f"{name}: lớn quá 20 MB, hãy chia nhỏ · larger than 20 MB: split it")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        said = "tệp .xls cũ hoặc có mật khẩu, hãy lưu thành .xlsx không mật khẩu"
        raise Refused(f"{name}: {said} · an old .xls or has a password: save it as .xlsx without one")
    sheets = _xlsx(name, data) if data.startswith(b"PK") else _csv(name, data)
    tables = [table for title, lines in sheets if (table := _table(title, lines))]
    if not tables:
        wanted = "; ".join(f"{s.vi}: {', '.join(c.vi for c in s.columns if c.field in s.needed)}" for s in SHEETS)
        english = "; ".join(f"{s.name}: {', '.join(s.needed)}" for s in SHEETS)
        raise Refused(f"{name}: không có dòng tiêu đề của bảng nào ({wanted}) · no header row of a table ({english})")
    return tables


def _table(name: str, lines: Lines) -> Table | None:
    header = None
    for number, cells in lines:
        header = recognise(cells)
        if header or number >= TITLE_ROWS:
            break
    if header is None:
        return None
    problems = [
        Problem(name, number, twice, "cột này có hai lần: bỏ một", "this column is there twice: remove one")
        for twice in header.doubled
    ]
    rows = list[tuple[int, tuple[str, ...]]]()
    for number, cells in lines:
        if not any(cells):
            continue
        if len(rows) == MOST_ROWS:
            raise Refused(f"{name}: quá {MOST_ROWS} dòng, hãy chia nhỏ · more than {MOST_ROWS} rows: split it")
        rows.append((number, tuple(cells)))
        known = header.columns.keys() | header.unknown.keys()
        if odd := next((cell for at, cell in enumerate(cells) if cell and at not in known), ""):
            vi = (
                f"có ô {odd[:40]!r} ở cột không có tiêu đề: xóa ô, thêm tiêu đề, hoặc đặt ô có dấu phẩy trong ngoặc kép"
            )
            en = f"cell {odd[:40]!r} has no header: clear it, name its column, or quote the cell that has a comma"
            problems.append(Problem(name, number, None, vi, en))
    return Table(name, header, tuple(rows), tuple(problems))


def _csv(name: str, data: bytes) -> list[tuple[str, Lines]]:
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        said = "không phải UTF-8: trong Excel hãy lưu thành 'CSV UTF-8' hoặc .xlsx"
        raise Refused(f"{name}: {said} · not UTF-8: in Excel save it as 'CSV UTF-8' or .xlsx") from None
    named = re.match(r"sep=(.)\r?\n", text)  # Excel's own first line, which it does not show
    if named:
        text = text[named.end() :]
    for delimiter in [named[1]] if named else [",", ";", "\t"]:
        head = list(_records(name, text, delimiter, strict=False, most=TITLE_ROWS))
        if any(recognise(cells) for _, cells in head):
            return [(name, _records(name, text, delimiter))]
    return []


def _records(name: str, text: str, delimiter: str, *, strict: bool = True, most: int = 2**31) -> Lines:
    number = 0
    try:
        for number, record in enumerate(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict), 1
        ):
            yield number, [_cell(_without_mark(cell.strip())) for cell in record]
            if number >= most:
                return
    except (csv.Error, TypeError, ValueError) as why:
        said = f"dòng {number + 1} có dấu ngoặc kép hoặc ký tự sai ({why})"
        raise Refused(f"{name}: {said}, hãy lưu lại từ Excel · row {number + 1} is no CSV: save it again") from None


def _xlsx(name: str, data: bytes) -> Iterator[tuple[str, Lines]]:
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    _look_into(name, data)
    with _readable(name):
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets[:MOST_SHEETS]:
            sheet.reset_dimensions()  # what a file says of its size may be wrong
            yield f"{name}/{sheet.title}", _sheet_rows(name, sheet)


def _sheet_rows(name: str, sheet: Any) -> Lines:
    with _readable(name):
        rows = sheet.iter_rows(max_row=EXCEL_ROWS, max_col=MOST_COLUMNS, values_only=True)
        for number, row in enumerate(rows, 1):
            if row.count(None) < len(row):  # one far cell makes a million empty rows before it
                yield number, [_cell(_words(value)) for value in row]


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as why:  # openpyxl raises whatever a broken file makes it stumble over
        said = "không đọc được tệp XLSX, hãy mở bằng Excel và lưu lại"
        raise Refused(f"{name}: {said} · can't be read as XLSX, save it again in Excel ({type(why).__name__})") from why


def _look_into(name: str, data: bytes) -> None:
    """Refuse what unpacks to too much, or has XML that can grow. Sizes that lie are no way in: unpacking ends there."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(part.file_size for part in packed.infolist()) > MOST_UNPACKED:
                raise Refused(f"{name}: tệp XLSX quá lớn khi giải nén · the XLSX unpacks to too much: split it")
            for part in packed.infolist():
                if b"<!DOCTYPE" in packed.read(part).replace(b"\0", b""):
                    raise Refused(f"{name}: không phải XLSX của Excel · its XML has declarations that no XLSX has")
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error) as why:
        raise Refused(f"{name}: tệp XLSX hỏng, hãy lưu lại · a damaged XLSX, save it again ({why})") from None


def _words(value: Any) -> str:
    """A workbook's cell as text, the same in every country; a number is often a key that Excel took for one."""
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format_number(value)
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value)


def _cell(text: str) -> str:
    """One line of text with composed accents: line breaks and no-break spaces come from pasting."""
    return unicodedata.normalize("NFC", re.sub(r"[^\S ]+", " ", text)).strip()


def _without_mark(text: str) -> str:
    return text[1:] if _UNMARK.match(text) else text


# Writing.

Rows = Iterable[Sequence[Any]]  # str, float or None, in the order of a sheet's fields


def to_csv(sheet: Sheet, rows: Rows, lang: str = "vi") -> bytes:
    """One table as CSV that Excel opens rightly: UTF-8 with BOM, commas."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([sheet.column(field).header(lang) for field in sheet.fields])
    for row in rows:
        cells = [_shown(field, value, lang) for field, value in zip(sheet.fields, row, strict=True)]
        writer.writerow(["'" + cell if _MARKED.match(cell) else cell for cell in cells])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def to_xlsx(tables: Iterable[tuple[Sheet, Rows]], lang: str = "vi") -> bytes:
    """All tables as a workbook, a sheet each; every cell but a coordinate is text, so that no key loses its zeros."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]

    book = Workbook(write_only=True)
    for sheet, rows in tables:
        page = book.create_sheet(sheet.title(lang))
        page.freeze_panes = "A2"
        for at, field in enumerate(sheet.fields):
            wide = page.column_dimensions[chr(ord("A") + at)]
            wide.width, wide.number_format = (40 if field in ("name", "address") else 18), "@"
        page.append([sheet.column(field).header(lang) for field in sheet.fields])
        for row in rows:
            cells: list[Any] = []
            for field, value in zip(sheet.fields, row, strict=True):
                cell = value if isinstance(value, float) else _shown(field, value, lang)
                if isinstance(cell, str) and cell.startswith("="):
                    cell = WriteOnlyCell(page, cell)
                    cell.data_type = "s"  # text, no formula
                cells.append(cell)
            page.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _shown(field: str, value: Any, lang: str) -> str:
    if isinstance(value, float):
        number = format_number(value)
        return number.replace(".", ",") if lang == "vi" else number
    found = "".join(letter for letter in str(value or "") if letter.isprintable())
    words = (KINDS if field == "kind" else LEVELS if field == "level" else {}).get(found)
    return words[0] if words and lang == "vi" else found
