"""Which language the person at this machine reads, and errors that speak both."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

LANGUAGES = ("vi", "en")


class Told(Exception):
    """An error for people: one line that says what to do, in English (``str``) and in Vietnamese (``vi``)."""

    def __init__(self, en: str, vi: str) -> None:
        super().__init__(en)
        self.vi = vi

    def said(self, language: str) -> str:
        """The line in this language, ``vi`` or ``en``."""
        return str(self) if language == "en" else self.vi


def of_this_person(environment: Mapping[str, str] = os.environ) -> str:
    """``SCHOOLPULSE_LANG``, else the system's language: English only where that says so, otherwise Vietnamese."""
    for name in ("SCHOOLPULSE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        said = environment.get(name, "").strip().lower()
        if said:
            return "en" if said[:2] == "en" and not said[2:3].isalpha() else "vi"
    return "en" if os.name == "nt" and _windows_is_english() else "vi"


def _windows_is_english() -> bool:
    import ctypes

    language: int = getattr(ctypes, "windll").kernel32.GetUserDefaultUILanguage()  # noqa: B009 - only Windows has it
    return language & 0x3FF == 0x09  # the primary language of a LANGID; 9 is English


_RIGHTS = (
    ("không đủ quyền", "try again as administrator", "thử lại với quyền quản trị (Run as administrator)")
    if os.name == "nt"
    else ("không đủ quyền", "try again as root (sudo)", "thử lại với quyền root (sudo)")
)
_FULL = ("ổ đĩa đã đầy", "free some space, then try again", "giải phóng dung lượng rồi thử lại")
_REASONS = {  # errno: what it is in Vietnamese (the system itself says it in English), and what to do in both
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOSPC: _FULL,
    getattr(errno, "EDQUOT", errno.ENOSPC): _FULL,
    errno.EROFS: ("ổ đĩa chỉ cho đọc", "check the disk or use another one", "kiểm tra ổ đĩa hoặc dùng ổ khác"),
    errno.EIO: ("lỗi đọc ghi ổ đĩa", "the disk may be failing", "ổ đĩa có thể sắp hỏng"),
    errno.ENOENT: ("không có tệp hay thư mục này", "", ""),
    errno.EISDIR: ("đây là thư mục, không phải tệp", "", ""),
    errno.ENOTDIR: ("có tệp trùng tên nằm ở chỗ thư mục", "", ""),
    errno.EEXIST: ("có tệp trùng tên nằm ở chỗ này", "", ""),
}


def reason(why: OSError) -> Told:
    """What the system refused and what to do about it, without the file's name."""
    plain = why.strerror or str(why) or type(why).__name__
    vi, do, do_vi = _REASONS.get(why.errno or 0, (f"lỗi hệ thống ({plain})", "", ""))
    return Told(f"{plain}; {do}" if do else plain, f"{vi}; {do_vi}" if do else vi)


def of_file(why: OSError) -> Told:
    """As `reason`, after the file's name."""
    told = reason(why)
    return Told(f"{why.filename}: {told}", f"{why.filename}: {told.vi}") if why.filename else told
