"""Every text that people see, in Vietnamese and English; terms as schools use them."""

from __future__ import annotations

from fastapi import Request

LANGUAGES = ("vi", "en")
COOKIE = "sp_language"

TEXTS = {
    "product": ("Nhịp trường", "SchoolPulse"),
    "link_spent": (
        "Liên kết đăng nhập này đã được dùng hoặc đã hết hạn. Hãy tạo liên kết mới trên máy chủ bằng một trong hai lệnh:",
        "This sign-in link was used before or has expired. Make a new one on the server with one of these:",
    ),
    "sign_in_first": (
        "Hãy đăng nhập bằng liên kết dùng một lần mà máy chủ đã in ra khi khởi động. Để tạo liên kết mới, chạy trên máy chủ:",
        "Please sign in with the one-time link that the server printed when it started. For a new one, run on the server:",
    ),
    "other_language": ("English", "Tiếng Việt"),
    "devices": ("thiết bị", "devices"),
    "online": ("đang kết nối", "online"),
    "off": ("đã tắt máy", "powered off"),
    "offline": ("mất kết nối", "offline"),
    "unknown": ("không rõ", "unknown"),
    "simulated": ("mô phỏng", "simulated"),
    "simulated_hint": (
        "Số liệu của thiết bị này do chương trình tạo ra, không phải đo thật.",
        "This device's values are made up by a program, not measured.",
    ),
    "no_schools": (
        "Chưa có trường nào. Hãy chạy thử với: schoolpulse up --demo",
        "No school yet. Try: schoolpulse up --demo",
    ),
    "no_device": ("Không có thiết bị này.", "There is no such device."),
    "no_data": ("Không có dữ liệu", "No data"),
    "last_seen": ("Lần kết nối cuối", "Last seen"),
    "never": ("chưa bao giờ", "never"),
    "uptime": ("Thời gian hoạt động", "Uptime"),
    "cpu": ("Tải CPU", "CPU load"),
    "memory": ("Bộ nhớ RAM", "Memory"),
    "disk": ("Ổ đĩa đã dùng", "Disk used"),
    "network": ("Lưu lượng mạng", "Network traffic"),
    "received": ("nhận", "received"),
    "sent": ("gửi", "sent"),
    "range": ("Khoảng thời gian", "Range"),
    "minutes_15": ("15 phút", "15 minutes"),
    "hour_1": ("1 giờ", "1 hour"),
    "hours_24": ("24 giờ qua", "last 24 hours"),
    "day": ("ngày", "d"),
    "hour": ("giờ", "h"),
    "minute": ("phút", "min"),
    "kind_server": ("máy chủ", "server"),
    "kind_lab_pc": ("máy học sinh", "lab PC"),
    "store_down": ("Kho dữ liệu đang không trả lời; sẽ thử lại.", "The store does not answer; trying again."),
}


def text(key: str, lang: str) -> str:
    """A text in a language (``vi`` or ``en``)."""
    return TEXTS[key][LANGUAGES.index(lang)]


def kind_text(kind: str, lang: str) -> str:
    """A device's kind in words; one without a text is shown as it is."""
    return text(f"kind_{kind}", lang) if f"kind_{kind}" in TEXTS else kind


def language(request: Request) -> str:
    """The language chosen in this browser; Vietnamese at first."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else LANGUAGES[0]


def number(value: float, lang: str, digits: int = 0) -> str:
    """``1.234,5`` in Vietnamese, ``1,234.5`` in English."""
    shown = f"{value:,.{digits}f}"
    return shown.translate(str.maketrans(",.", ".,")) if lang == "vi" else shown


def span(seconds: float, lang: str) -> str:
    """A length of time in its two largest units: ``3 ngày 4 giờ``."""
    minutes = int(seconds // 60)
    parts = [(minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {text(unit, lang)}" for count, unit in parts[:2])
