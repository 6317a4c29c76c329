"""Import and export schools, units, memberships and rooms as CSV or XLSX."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import SYSTEM, Refused, Registry, org, orgfile, orgsample, orgsheet
from schoolpulse_collector.registry.orgcolumns import SHEETS, Sheet
from schoolpulse_collector.registry.orgfile import Plan

LANGUAGES = ("vi", "en")
MERGES = {"merge-school": org.merge_school, "merge-unit": org.merge_unit}
YES = ("c", "co", "có", "y", "yes")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``schoolpulse org``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = actions.add_parser("import", help="what files would change and what is wrong in them; --apply does it")
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV (UTF-8) or XLSX")
    made.add_argument("--apply", action="store_true", help="make the changes, all or none")
    made.add_argument("--yes", action="store_true", help="don't ask before that")
    made.add_argument("--lang", choices=LANGUAGES, help="one language only (otherwise both)")
    made = actions.add_parser("export", help="write everything to a workbook, or to a folder as CSV")
    made.add_argument("to", type=Path, metavar="FILE.xlsx|FOLDER")
    made.add_argument("--lang", choices=LANGUAGES, default="vi", help="language of the headers")
    for what in ("school", "unit"):
        text = f"let a {what} be taken over by another; no measurement is rewritten"
        made = actions.add_parser(f"merge-{what}", help=text)
        made.add_argument("key", help=f"key of the {what} that ends")
        made.add_argument("into", metavar="INTO", help="key of the one that takes it over")
    made = actions.add_parser("sample", help="write sample data: the 16 clusters, and schools that do not exist")
    made.add_argument("to", type=Path, metavar="FILE.xlsx|FOLDER")
    made.add_argument("--lang", choices=LANGUAGES, default="vi", help="language of the headers")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was asked. Raises Refused, RegistryDown, OSError."""
    if args.action == "sample":
        return _write(orgsample.tables(), args.to, args.lang)
    registry = Registry(settings.registry_url)
    try:
        if args.action == "import":
            return _import(args, registry)
        if args.action in MERGES:
            with registry.change(SYSTEM) as change:
                MERGES[args.action](change, args.key, args.into)
            print(f"{args.key} → {args.into} ✓")
            return 0
        with registry.read() as session:
            found = orgfile.export(session)
        return _write(found, args.to, args.lang)
    finally:
        registry.close()


def _import(args: argparse.Namespace, registry: Registry) -> int:
    tables, unread = [], False
    for path in args.files:
        try:
            tables += orgsheet.read(str(path), path.read_bytes())
        except Refused as why:  # the errors in the other files are wanted too
            print(f"✗ {why}")
            unread = True
    with registry.read() as session:
        plan = orgfile.plan(session, tables)
    languages = (args.lang,) if args.lang else LANGUAGES
    _show(plan, languages)
    if plan.errors or unread:
        print(
            _both(
                languages, "Có lỗi, chưa ghi gì: sửa tệp rồi chạy lại.", "Errors, nothing written: correct, run again."
            )
        )
        return 1
    if not plan.changes:
        print(_both(languages, "Không có gì thay đổi.", "Nothing to change."))
        return 0
    if not args.apply:
        print(_both(languages, "Chạy thử, chưa ghi gì; thêm --apply để ghi.", "Dry run, nothing written; add --apply."))
        return 0
    if not args.yes and not _agreed(len(plan.changes)):
        print(_both(languages, "Chưa ghi gì.", "Nothing written."))
        return 1
    with registry.change(SYSTEM) as change:
        orgfile.apply(change, plan, _Progress())
    print(_both(languages, f"Đã ghi {len(plan.changes)} thay đổi.", f"{len(plan.changes)} changes written."))
    return 0


def _show(plan: Plan, languages: Sequence[str]) -> None:
    for table in plan.tables:
        if table.header.unknown:
            names = ", ".join(map(repr, table.header.unknown.values()))  # no control characters
            print(f"! {table.name}: {_both(languages, f'bỏ qua cột {names}', f'columns left out: {names}')}")
    for edit in plan.changes:
        print(edit.text(languages[0]))
    for problem in plan.errors:
        for number, lang in enumerate(languages):
            print("  " if number else "✗ ", problem.text(lang), sep="")
    for name, (added, changed, unchanged) in plan.counts().items():
        sheet = next(sheet for sheet in SHEETS if sheet.name == name)
        vi = f"{sheet.vi}: thêm {added}, sửa {changed}, giữ nguyên {unchanged}"
        print(_both(languages, vi, f"{sheet.name}: {added} added, {changed} changed, {unchanged} unchanged"))
    count = len(plan.errors)
    print(_both(languages, f"Lỗi: {count}. Không xóa gì.", f"Errors: {count}. Nothing is deleted."))


def _both(languages: Sequence[str], vi: str, en: str) -> str:
    return " · ".join({"vi": vi, "en": en}[lang] for lang in languages)


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise Refused("không có ai để hỏi, hãy thêm --yes · nobody to ask here: add --yes")
    return input(f"Ghi {count} thay đổi? (c/K) · Write {count} changes? (y/N) ").strip().lower() in YES


class _Progress:
    """A bar on stderr, if people look at it and it takes longer than a second."""

    def __init__(self) -> None:
        self._began, self._shown = time.monotonic(), -1

    def __call__(self, done: int, all_: int) -> None:
        percent = done * 100 // all_
        if percent != self._shown and sys.stderr.isatty() and time.monotonic() - self._began > 1:
            self._shown = percent
            end = "\n" if done == all_ else ""
            print(f"\r[{'#' * (percent // 4):25}] {percent} %", end=end, file=sys.stderr, flush=True)


def _write(tables: Sequence[tuple[Sheet, Sequence[Sequence[Any]]]], to: Path, lang: str) -> int:
    if to.suffix.lower() == ".xlsx":
        to.write_bytes(orgsheet.to_xlsx(tables, lang))
    elif to.suffix:
        raise Refused(f"{to}: ghi tên .xlsx hoặc một thư mục · name an .xlsx or a folder")
    else:
        to.mkdir(parents=True, exist_ok=True)
        for sheet, rows in tables:
            (to / f"{sheet.name}.csv").write_bytes(orgsheet.to_csv(sheet, rows, lang))
    counts = ", ".join(f"{sheet.title(lang)} {len(rows)}" for sheet, rows in tables)
    print(f"{to}: {counts}")
    return 0
