"""What may stand in the fields of schools, units, rooms and memberships, whether a program or a person writes it.

A reading function takes text (or what is kept already) and returns what is kept; it raises `Wrong`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from schoolpulse_collector.registry.errors import Refused

Read = Callable[[Any], Any]
FORMULA_ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A")  # as spreadsheets show them
LEVELS = {  # as people write them, without accents, blanks and signs; the first is how a list shows it
    "mam_non": ("Mầm non", "mamnon", "mn", "maugiao", "nhatre", "kindergarten"),
    "tieu_hoc": ("Tiểu học", "tieuhoc", "th", "cap1", "primary"),
    "thcs": ("THCS", "thcs", "trunghoccoso", "cap2", "lowersecondary"),
    "thpt": ("THPT", "thpt", "trunghocphothong", "cap3", "uppersecondary"),
    "gdtx": ("GDTX", "gdtx", "giaoducthuongxuyen", "gdnngdtx", "trungtamgdnngdtx", "continuingeducation"),
}
KINDS = {
    "city": ("Thành phố", "thanhpho", "tp", "tinh", "province"),
    "department": ("Sở, phòng", "sophong", "so", "phong", "sogddt", "phonggddt"),
    "ward": ("Phường, xã, đặc khu", "phuongxadackhu", "phuong", "xa", "dackhu", "phuongxa", "commune"),
    "cluster": ("Cụm chuyên môn", "cumchuyenmon", "cum"),
    "district": ("Quận, huyện cũ", "quanhuyencu", "quan", "huyen", "quancu", "huyencu", "quanhuyen"),
    "other": ("Khác", "khac"),
}


class Wrong(Refused):
    """A value that can't be kept: why, and what to write instead, in both languages."""

    def __init__(self, vi: str, en: str) -> None:
        super().__init__(f"{vi} · {en}")
        self.vi, self.en = vi, en


def plain(text: str) -> str:
    """Text without accents, case, blanks and signs: ``Cấp học`` and ``cap_hoc`` are the same."""
    spread = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    return "".join(letter for letter in spread if letter.isalnum())


def text(most: int, *, required: bool = False) -> Read:
    """A reading function for printable text of at most so many characters; it strips and composes accents (NFC)."""

    def read(value: Any) -> str:
        found = unicodedata.normalize("NFC", str(value or "")).strip()
        if not found and required:
            raise Wrong("trống: phải ghi", "empty: it must be given")
        if len(found) > most:
            raise Wrong(f"dài quá {most} ký tự: rút ngắn lại", f"longer than {most} characters: shorten it")
        if found in FORMULA_ERRORS:
            raise Wrong(f"công thức lỗi ({found}): sửa ô này", f"a formula's error ({found}): correct the cell")
        if odd := next((letter for letter in found if not letter.isprintable()), ""):
            code = f"U+{ord(odd):04X}"
            raise Wrong(f"có ký tự không in được ({code}): gõ lại", f"has an unprintable character ({code}): retype it")
        return found

    return read


def key(value: Any) -> str:
    """A key: 1 to 64 letters without accents, digits, ``_`` and ``-``: it stands in topics and stored samples."""
    found = str(value or "").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        shown = found[:70]
        raise Wrong(
            f"mã {shown!r}: chỉ dùng 1-64 chữ không dấu, số, _ và -, không có khoảng trắng",
            f"key {shown!r}: use 1-64 letters without accents, digits, _ and -, no blanks",
        )
    return found


def optional_key(value: Any) -> str | None:
    """A key, or None if there is no text."""
    return key(value) if str(value or "").strip() else None


def level(value: Any) -> str:
    """A school's level, in our word or a Vietnamese one; empty: not known."""
    if not str(value or "").strip():
        return ""
    shown = ", ".join(words[0] for words in LEVELS.values())
    return _one_of(
        LEVELS,
        value,
        f"không phải cấp học: ghi {shown} hoặc để trống; trường nhiều cấp ghi cấp cao nhất",
        f"no level: write {', '.join(LEVELS)} or nothing; the highest if a school has several",
    )


def kind(value: Any) -> str:
    """A unit's kind, in our word or a Vietnamese one."""
    shown = "; ".join(words[0] for words in KINDS.values())
    return _one_of(KINDS, value, f"không phải loại đơn vị: ghi {shown}", f"no kind of unit: write {', '.join(KINDS)}")


def day(value: Any) -> str:
    """A day as ISO text, from ``dd/mm/yyyy`` or ISO; empty stays empty."""
    found = str(value or "").strip()
    if not found:
        return ""
    iso, local = (
        re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", found, re.A),
        re.fullmatch(r"(\d\d?)/(\d\d?)/(\d{4})", found, re.A),
    )
    parts = iso.groups() if iso else local.groups()[::-1] if local else None
    try:
        read = date(*map(int, parts)) if parts else None
    except ValueError:
        read = None
    if read is None or not 1900 <= read.year < 2200:
        raise Wrong(
            f"{found[:40]!r} không phải ngày: ghi như 31/12/2026", f"{found[:40]!r} is no day: write 2026-12-31"
        )
    return read.isoformat()


def last_day(value: Any) -> str:
    """The day after a last day: memberships are kept up to and without a day."""
    found = day(value)
    return found and (date.fromisoformat(found) + timedelta(days=1)).isoformat()


def coordinate(most: int) -> Read:
    """A reading function for degrees between -most and most, with decimal point or comma; empty: None."""

    def read(value: Any) -> float | None:
        found = "" if value is None else format_number(value) if isinstance(value, float | int) else str(value).strip()
        if not found:
            return None
        if not re.fullmatch(r"[+-]?\d{1,6}([.,]\d{1,400})?", found, re.A):
            raise Wrong(
                f"{found[:40]!r} không phải số độ: ghi như 10,7769", f"{found[:40]!r} is no degrees: write 10.7769"
            )
        degrees = float(found.replace(",", "."))
        if abs(degrees) > most:
            raise Wrong(
                f"{found[:40]} quá {most} độ: sai dấu thập phân, hoặc đổi chỗ vĩ độ và kinh độ?",
                f"{found[:40]} is beyond {most} degrees: decimal sign, or latitude and longitude swapped?",
            )
        return round(degrees, 9) + 0.0  # a tenth of a millimetre; spreadsheets keep 15 digits. No minus zero

    return read


def format_number(value: float) -> str:
    """A number without an exponent, from which the same number is read again."""
    from decimal import Decimal

    return format(Decimal(repr(value)), "f") if abs(value) < 1e15 else str(value)  # nan and inf stay words, and wrong


def _one_of(words: dict[str, tuple[str, ...]], value: Any, vi: str, en: str) -> str:
    found = str(value or "").strip()
    wanted = plain(found)
    for name, known in words.items():
        if found == name or wanted in (plain(name), *known[1:]):
            return name
    raise Wrong(f"{found[:40]!r} {vi}", f"{found[:40]!r} {en}")


name = text(200, required=True)
SCHOOL: dict[str, Read] = {
    "key": key,
    "name": name,
    "code": text(64),
    "level": level,
    "address": text(300),
    "latitude": coordinate(90),
    "longitude": coordinate(180),
    "isp": text(64),
    "merged_into": optional_key,
}
UNIT: dict[str, Read] = {"key": key, "name": name, "kind": kind, "parent": optional_key}
ROOM: dict[str, Read] = {"key": key, "school": key, "name": name}
MEMBERSHIP: dict[str, Read] = {"school": key, "unit": key, "valid_from": day, "valid_to": day}
