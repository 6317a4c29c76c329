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
    "sign_in": ("Đăng nhập", "Sign in"),
    "sign_out": ("Đăng xuất", "Sign out"),
    "sign_in_with": ("Đăng nhập bằng {name}", "Sign in with {name}"),
    "or": ("hoặc", "or"),
    "login": ("Tên đăng nhập", "User name"),
    "password": ("Mật khẩu", "Password"),
    "sign_in_hint": (
        "Chưa có mật khẩu hoặc quên mật khẩu? Hãy xin quản trị viên một liên kết đăng nhập dùng một lần.",
        "No password yet, or forgotten? Ask an administrator for a one-time sign-in link.",
    ),
    "wrong_password": ("Tên đăng nhập hoặc mật khẩu không đúng.", "User name or password is wrong."),
    "code": ("Mã xác thực", "Verification code"),
    "code_hint": (
        "Nhập mã 6 chữ số đang hiện trong ứng dụng xác thực của bạn.",
        "Enter the 6 digits that your authenticator app shows now.",
    ),
    "wrong_code": (
        "Mã không đúng hoặc đã được dùng. Hãy chờ mã tiếp theo rồi thử lại.",
        "This code is wrong or was used before. Wait for the next one and try again.",
    ),
    "go_on": ("Tiếp tục", "Continue"),
    "other_account": ("Dùng tài khoản khác", "Use another account"),
    "too_many_tries": (
        "Đã thử quá nhiều lần. Hãy thử lại sau {minutes} phút.",
        "Too many tries. Please try again in {minutes} min.",
    ),
    "account": ("Tài khoản", "Account"),
    "own_name": ("Họ và tên", "Name"),
    "old_password": ("Mật khẩu hiện tại", "Current password"),
    "new_password": ("Mật khẩu mới", "New password"),
    "again": ("Nhập lại mật khẩu mới", "New password again"),
    "password_hint": (
        "Ít nhất 10 ký tự; nên dùng vài từ dễ nhớ ghép lại. Khi đổi mật khẩu, các phiên đăng nhập khác sẽ kết thúc.",
        "At least 10 characters; a few words together are easy to keep in mind. A new one ends your other sessions.",
    ),
    "password_short": ("Mật khẩu phải có ít nhất 10 ký tự.", "A password has at least 10 characters."),
    "password_login": ("Mật khẩu không được trùng với tên đăng nhập.", "The user name can't be the password."),
    "password_common": (
        "Mật khẩu này quá dễ đoán. Hãy chọn mật khẩu khác.",
        "This password is too easy to guess. Choose another one.",
    ),
    "password_differs": ("Hai lần nhập mật khẩu mới không giống nhau.", "The two new passwords are not the same."),
    "wrong_old_password": ("Mật khẩu hiện tại không đúng.", "The current password is wrong."),
    "want_password": ("Trước khi tiếp tục, hãy đặt mật khẩu cho tài khoản này.", "Before you go on, set a password."),
    "want_totp": (
        "Tài khoản quản trị phải có xác thực hai lớp. Hãy thiết lập trước khi tiếp tục.",
        "An administrator's account needs a second factor. Set it up before you go on.",
    ),
    "second_factor": ("Xác thực hai lớp", "Second factor"),
    "totp_is_on": (
        "Đang bật. Nếu mất điện thoại, hãy nhờ quản trị viên gỡ để thiết lập lại.",
        "It is on. If you lose your phone, an administrator can remove it, and you set it up again.",
    ),
    "totp_hint": (
        "Quét mã này bằng một ứng dụng xác thực (Google Authenticator, Microsoft Authenticator, Aegis …), rồi nhập mã 6 chữ số mà ứng dụng hiện ra.",
        "Scan this with an authenticator app (Google Authenticator, Microsoft Authenticator, Aegis …), then enter the 6 digits that it shows.",
    ),
    "totp_by_hand": ("Không quét được? Hãy nhập khóa này:", "Can't scan it? Type this key:"),
    "qr": ("Mã QR cho ứng dụng xác thực", "QR code for the authenticator app"),
    "turn_on": ("Bật", "Turn on"),
    "save": ("Lưu", "Save"),
    "saved": ("Đã lưu.", "Saved."),
    "name_empty": ("Họ và tên không được để trống.", "A name can't be empty."),
    "sessions": ("Các phiên đăng nhập", "Sessions"),
    "since": ("từ", "since"),
    "this_one": ("phiên này", "this one"),
    "end": ("Kết thúc", "End"),
    "unknown_browser": ("trình duyệt không rõ", "unknown browser"),
    "oidc_again": (
        "Lần đăng nhập này đã hết hạn hoặc không bắt đầu từ trình duyệt này. Hãy đăng nhập lại.",
        "This sign-in has expired or did not begin in this browser. Please sign in again.",
    ),
    "oidc_refused": (
        "{name} không cho phép đăng nhập này. Hãy thử lại, hoặc hỏi người quản lý tài khoản của bạn ở đó.",
        "{name} did not allow this sign-in. Try again, or ask who manages your account there.",
    ),
    "oidc_failed": (
        "Không đăng nhập được qua {name}: dịch vụ không trả lời, hoặc câu trả lời không đáng tin. Hãy thử lại sau; nếu vẫn lỗi, hãy báo quản trị viên xem nhật ký của máy chủ.",
        "Signing in through {name} failed: it did not answer, or its answer can't be trusted. Try again later; if it stays so, tell an administrator to read this server's log.",
    ),
    "oidc_inactive": ("Tài khoản này đã bị khóa ở đây.", "This account has been deactivated here."),
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
    "made_of": ("Cấu hình máy", "What it is made of"),
    "machine": ("Kiểu máy", "Model"),
    "serial": ("Số sê-ri", "Serial number"),
    "processor": ("CPU", "Processor"),
    "graphics": ("Card đồ họa", "Graphics"),
    "disk_drive": ("Ổ đĩa", "Disk"),
    "system": ("Hệ điều hành", "Operating system"),
    "support": ("Hỗ trợ hệ điều hành", "Support of the system"),
    "supported_until": ("đến hết ngày {day}", "until {day}"),
    "support_ended": (
        "đã hết từ {day}: không còn bản vá bảo mật miễn phí",
        "ended on {day}: no more free security updates",
    ),
    "agent": ("Phần mềm giám sát", "Agent"),
    "configuration": ("Thiết lập từ trung tâm", "The centre's configuration"),
    "config_followed": ("đang áp dụng", "followed"),
    "config_waiting": ("đang chờ máy áp dụng", "not followed yet"),
    "config_refused": ("máy không áp dụng", "refused"),
    "part_added": ("Thêm", "Added"),
    "part_removed": ("Mất", "Gone"),
    "other_machine": ("Mã thiết bị này chuyển sang máy khác", "This device's id is on another machine now"),
    "part_system": ("máy", "machine"),
    "part_cpu": ("CPU", "processor"),
    "part_memory": ("RAM", "memory"),
    "part_disk": ("ổ đĩa", "disk"),
    "part_network": ("card mạng", "network card"),
    "part_gpu": ("card đồ họa", "graphics card"),
    "part_os": ("hệ điều hành", "operating system"),
    "part_bios": ("BIOS", "firmware"),
    "part_agent": ("phần mềm giám sát", "agent"),
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
