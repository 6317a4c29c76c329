"""The manifest as a document: text for a terminal, HTML to print and sign, JSON for machines."""

from __future__ import annotations

import json
import time
from html import escape

from schoolpulse_agent import __version__
from schoolpulse_agent.manifest import NEVER, Both, Section, compose
from schoolpulse_agent.settings import Settings

TITLE = ("Manifest of the data that this machine sends", "Bản kê dữ liệu mà máy này gửi đi")
SUBTITLE = ("SchoolPulse, watching over a school's IT equipment", "Nhịp trường: giám sát thiết bị CNTT của trường")
INTRO = (
    "Nothing but what is listed here leaves this machine by this program. Sections that are off are listed too.",
    "Ngoài những gì ghi dưới đây, phần mềm này không gửi gì khác ra khỏi máy. Mục đang tắt cũng được ghi.",
)
NEVER_TITLE = ("Never sent", "Không bao giờ gửi")
HEAD = (("name", "tên"), ("meaning", "ý nghĩa"), ("unit", "đơn vị"), ("example", "ví dụ"))
ON, OFF = ("on", "đang bật"), ("off", "đang tắt")
WHY, OFTEN = ("Why", "Mục đích"), ("How often", "Bao lâu một lần")
SIGNED = (("Technician", "Kỹ thuật viên"), ("Principal", "Hiệu trưởng"))
SIGN = (
    ("(signature, full name)", "(ký, ghi rõ họ tên)"),
    ("(signature, full name, stamp)", "(ký, ghi rõ họ tên, đóng dấu)"),
)
PLACE = ("......................., day ...... month ...... year .........",
         "......................., ngày ...... tháng ...... năm .........")  # fmt: skip
STYLE = """
@page { size: A4; margin: 18mm 15mm } body { font: 10.5pt/1.35 "Times New Roman", "Liberation Serif", serif }
body { max-width: 180mm; margin: auto; color: #000 } h1 { font-size: 16pt; text-align: center; margin: 6mm 0 1mm }
h1 small { display: block }
h2 { font-size: 12pt; margin: 5mm 0 1mm; break-after: avoid } p { margin: 1mm 0 } p.sub { text-align: center }
small { color: #444; font-size: 9pt } table { border-collapse: collapse; width: 100%; margin: 1mm 0 }
th, td { border: 0.5pt solid #777; padding: 0.6mm 1.5mm; text-align: left; vertical-align: top }
th { background: #eee } tr, ul { break-inside: avoid } thead { display: table-header-group }
td:first-child { font: 9pt "Liberation Mono", Consolas, monospace; width: 34% } td:nth-child(3) { width: 9% }
td:nth-child(4) { width: 20%; overflow-wrap: anywhere } .off { color: #666 }
.sign { display: flex; justify-content: space-around; text-align: center; margin-top: 8mm; height: 40mm;
break-inside: avoid } .place { text-align: right; margin-top: 8mm }
"""


def printed(own: Settings, language: str, form: str) -> str:
    """The whole document. ``language``: ``vi``, ``en`` or ``both``; ``form``: ``text``, ``html`` or ``json``."""
    sections = compose(own)
    return {"text": _text, "html": _html, "json": _json}[form](sections, own, language)


def _head(own: Settings) -> list[tuple[Both, str]]:
    blank = "." * 40
    return [
        (("Organisation", "Cơ quan quản lý"), blank),
        (("School", "Trường"), own.device.school or blank),
        (("Machine (device id)", "Máy (mã thiết bị)"), own.device.id or blank),
        (("Date", "Ngày lập"), time.strftime("%d/%m/%Y")),
        (("Agent's version", "Phiên bản phần mềm"), __version__),
    ]


def _said(both: Both, language: str) -> str:
    """Vietnamese first where both are asked for."""
    return f"{both[1]} / {both[0]}" if language == "both" else both[0] if language == "en" else both[1]


def _rows(section: Section) -> list[tuple[str, Both, str, str]]:
    fields = [(name, (metric.en, metric.vi), metric.unit, metric.example) for name, metric in section.fields.items()]
    tags = [(name, (tag.en, tag.vi), "", tag.example) for name, tag in section.tags.items()]
    return fields + tags


def _text(sections: list[Section], own: Settings, language: str) -> str:
    def told(both: Both) -> str:
        return _said(both, language)

    lines = [told(TITLE).upper(), told(SUBTITLE), "", *(f"{told(label)}: {value}" for label, value in _head(own))]
    lines += ["", *_each(INTRO, language)]
    for number, section in enumerate(sections, 1):
        lines += ["", f"{number}. {told(section.title)} [{told(ON if section.on else OFF)}; {told(section.every)}]"]
        lines += [f"   {told(WHY)}: {_said(section.why, language)}"]
        rows = _rows(section)
        width = max(len(name) for name, *_ in rows)
        for name, meaning, unit, example in rows:
            line = f"   {name.ljust(width)}  {told(meaning)}" + (f" [{unit}]" if unit else "")
            lines.append(line + (f"  ({example})" if example else ""))
    lines += ["", f"{len(sections) + 1}. {told(NEVER_TITLE)}", *(f"   - {told(each)}" for each in NEVER)]
    lines += ["", PLACE[0 if language == "en" else 1]]
    for row in (SIGNED, SIGN):
        lines.append("".join(told(each).ljust(60) for each in row).rstrip())
    return "\n".join([*lines, "", ""])


def _each(both: Both, language: str) -> list[str]:
    """Whole sentences: one line for each language."""
    return [both[1], both[0]] if language == "both" else [_said(both, language)]


def _html(sections: list[Section], own: Settings, language: str) -> str:
    def told(both: Both) -> str:
        if language != "both":
            return escape(_said(both, language))
        return f"{escape(both[1])} <small>{escape(both[0])}</small>"

    parts = [f"<h1>{told(TITLE)}</h1><p class=sub>{told(SUBTITLE)}</p>"]
    parts += [f"<p>{told(label)}: <b>{escape(value)}</b></p>" for label, value in _head(own)]
    parts += [f"<p>{told(INTRO)}</p>"]
    columns = "".join(f"<th>{told(column)}</th>" for column in HEAD)
    for number, section in enumerate(sections, 1):
        off = "" if section.on else " class=off"
        parts += [f"<section{off}><h2>{number}. {told(section.title)} ({told(ON if section.on else OFF)})</h2>"]
        parts += [f"<p>{told(WHY)}: {told(section.why)}</p><p>{told(OFTEN)}: {told(section.every)}</p>"]
        parts += [f"<table><thead><tr>{columns}</tr></thead><tbody>"]
        for name, meaning, unit, example in _rows(section):
            cells = (escape(name).replace(".", ".<wbr>"), told(meaning), escape(unit), escape(example))
            parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        parts += ["</tbody></table></section>"]
    items = "".join(f"<li>{told(each)}</li>" for each in NEVER)
    parts += [f"<h2>{len(sections) + 1}. {told(NEVER_TITLE)}</h2><ul>{items}</ul>"]
    signed = "".join(f"<div><b>{told(who)}</b><br>{told(how)}</div>" for who, how in zip(SIGNED, SIGN))
    parts += [f"<p class=place>{escape(PLACE[0 if language == 'en' else 1])}</p><div class=sign>{signed}</div>"]
    lang = "en" if language == "en" else "vi"
    title = escape(_said(TITLE, language))
    start = f'<!doctype html><html lang={lang}><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return "\n".join([start, *parts, "</html>"])


def _json(sections: list[Section], own: Settings, _language: str) -> str:
    """Both languages always: it is for programs. Fields and tags by name, as ``disk.used_percent``."""
    made = {
        "agent": __version__,
        "school": own.device.school,
        "device": own.device.id,
        "made": time.strftime("%Y-%m-%d"),
        "sections": [
            {
                **section._asdict(),
                "title": dict(zip(("en", "vi"), section.title)),
                "every": dict(zip(("en", "vi"), section.every)),
                "why": section.why._asdict(),
                "fields": {name: metric._asdict() for name, metric in section.fields.items()},
                "tags": {name: tag._asdict() for name, tag in section.tags.items()},
            }
            for section in sections
        ],
        "never": [{"en": en, "vi": vi} for en, vi in NEVER],
    }
    return json.dumps(made, ensure_ascii=False, indent=2)
