"""Writes the tables of docs/bench.md from the files in bench/, between ``<!-- name -->`` and ``<!-- end -->``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from results import FOLDER, LARGER_IS_BETTER

PAPER = Path(__file__).parents[2] / "docs" / "bench.md"


def table(results: list[dict[str, Any]]) -> str:
    """A line for each name, a column for each of what was measured (``SQLite: name``)."""
    lines: dict[str, dict[str, dict[str, Any]]] = {}
    for each in results:
        kind, name = each["name"].split(": ", 1)
        lines.setdefault(name, {})[kind] = each
    kinds = list(dict.fromkeys(each["name"].split(": ", 1)[0] for each in results))
    rows = [f"| | {' | '.join(kinds)} | target |", "|---" * (len(kinds) + 2) + "|"]
    for name, found in lines.items():
        rows.append(f"| {name} | {' | '.join(_cell(found.get(kind)) for kind in kinds)} | {_target(found)} |")
    return "\n".join(rows)


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return ""
    number = f"{result['value']:,.0f}" if result["value"] >= 100 else f"{result['value']:.3g}"
    return f"{number} {result['unit']}".strip() + ("" if result["ok"] else " **missed**")


def _target(found: dict[str, dict[str, Any]]) -> str:
    one = next(iter(found.values()))
    sign = "≥" if one["unit"] in LARGER_IS_BETTER else "≤"
    return "" if one["target"] is None else f"{sign} {one['target']:g}"


if __name__ == "__main__":
    text = PAPER.read_text(encoding="utf-8")
    for file in sorted(FOLDER.glob("*.json")):
        filled = f"<!-- {file.stem} -->\n{table(json.loads(file.read_text(encoding='utf-8'))['results'])}\n<!-- end -->"
        text = re.sub(rf"<!-- {file.stem} -->.*?<!-- end -->", lambda _, new=filled: new, text, flags=re.DOTALL)  # type: ignore[misc]
    PAPER.write_text(text, encoding="utf-8")
