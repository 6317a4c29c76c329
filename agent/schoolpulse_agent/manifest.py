"""All that can ever leave this machine, put together for a principal to read and sign.

What is measured and the inventory come from the very tables that ``cycle.py`` and ``inventory.py`` let nothing past.
The messages' frames stand here; tests hold them to the messages themselves, and what an agent sends to both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from schoolpulse_agent import configuration, inventory, probe
from schoolpulse_agent.probe import Metric, Why
from schoolpulse_agent.settings import Settings

Both = tuple[str, str]  # English, Vietnamese


class Section(NamedTuple):
    """One kind of message or one probe."""

    id: str
    title: Both
    on: bool  # whether this machine sends it, by its settings and what the centre wants in force
    every: Both
    why: Why
    fields: dict[str, Metric]
    tags: dict[str, probe.Tag]


FRAME: dict[str, Metric] = {
    "v": Metric("", "Version of the message's form", "Phiên bản khuôn dạng thông báo", "1"),
    "epoch": Metric("", "Random number of this start of the agent", "Số ngẫu nhiên của lần chạy này", "2718281828"),
    "low": Metric("", "Lowest number of a report still held", "Số nhỏ nhất của báo cáo còn giữ", "41"),
    "reports": Metric("", "The reports, each with what follows", "Các báo cáo, mỗi báo cáo gồm các mục sau", ""),
    "seq": Metric("", "Number of the report", "Số thứ tự báo cáo", "42"),
    "t": Metric("ms", "Time of the report", "Thời điểm của báo cáo", "1795824000000"),
    "up": Metric("s", "Time since the machine was started", "Thời gian từ khi bật máy", "5400.5"),
    "m": Metric("", "What was measured: sections above", "Các số đo: những mục ở trên", ""),
}
PRESENCE: dict[str, Metric] = {
    "state": Metric("", "Comes, goes or is cut off", "Kết nối, chào tạm biệt hay mất kết nối", "online"),
    "session": Metric("", "Random number of the connection", "Số ngẫu nhiên của lần kết nối", "9f86d081884c7d65"),
    "epoch": FRAME["epoch"],
    "clock": Metric("ms", "What this machine's clock says", "Giờ trên máy này", "1795824000000"),
    "interval": Metric("s", "Time between two reports", "Thời gian giữa hai báo cáo", "60"),
    "hardware": Metric(
        "",
        "Fingerprint (SHA-256, cut) of the built-in network cards' addresses",
        "Dấu vân tay (SHA-256, rút ngắn) của địa chỉ các card mạng gắn sẵn",
        "2cf24dba5fb0a30e",
    ),
    "agent": Metric("", "Version of this agent", "Phiên bản phần mềm giám sát (agent)", "0.1.0"),
    "inventory": Metric("", "Check sum of the inventory", "Mã kiểm của bản kiểm kê", "486ea46224d1bb4f"),
    "config": Metric(
        "", "Version of the centre's configuration in force", "Phiên bản cấu hình đang dùng", "9f86d081884c7d65"
    ),
    "refused": Metric(
        "",
        "Configuration that is not followed, and why",
        "Cấu hình không theo được và lý do",
        "9f86d081884c7d65 no report arrived under it",
    ),
}
INVENTORY: dict[str, Metric] = {
    "v": FRAME["v"],
    "hash": PRESENCE["inventory"],
    "parts": Metric("", "The parts: section above", "Các linh kiện: mục ở trên", ""),
}
ENROLMENT: dict[str, Metric] = {
    "token": Metric("", "The token that allows to enrol", "Mã đăng ký do trung tâm cấp", "spe_..."),
    "name": Metric("", "The machine's name, if typed with --name", "Tên máy, nếu gõ bằng --name", "PC-07"),
    "csr": Metric(
        "", "Request for a certificate, with its public key", "Yêu cầu cấp chứng thư, có khóa công khai", "PEM"
    ),
    "device": Metric("", "The device id that the centre gave", "Mã thiết bị do trung tâm cấp", "d0123456789abcdef"),
    "secret": Metric("", "The secret that the centre gave", "Mã bí mật do trung tâm cấp", "..."),
    "previous": Metric("", "The device id that it had before", "Mã thiết bị trước đây", "d0123456789abcdef"),
    "proof": Metric("", "The secret that it had before", "Mã bí mật trước đây", "..."),
    "hardware": Metric("", "What tells this machine from others:", "Những gì phân biệt máy này với máy khác:", ""),
    "hardware.uuid": inventory.FIELDS["system", "uuid"],
    "hardware.serial": inventory.FIELDS["system", "serial"],
    "hardware.manufacturer": inventory.FIELDS["system", "manufacturer"],
    "hardware.product": inventory.FIELDS["system", "product"],
    "hardware.macs": Metric(
        "", "Addresses of built-in network cards", "Địa chỉ MAC các card mạng gắn sẵn", "54:bf:64:00:00:02"
    ),
    "hardware.fingerprint": PRESENCE["hardware"],
}
CONNECTION: dict[str, Metric] = {
    "school": Metric("", "Key of the school, in each topic", "Mã trường, trong mỗi chủ đề", "thcs-lac-hong"),
    "device": Metric(
        "", "Device id, in each topic and to sign in", "Mã thiết bị, trong chủ đề và khi đăng nhập", "d01"
    ),
    "secret": Metric("", "Secret or certificate, to sign in", "Mã bí mật hoặc chứng thư, khi đăng nhập", "..."),
    "address": Metric("", "Network address, as with any connection", "Địa chỉ mạng, như mọi kết nối", "203.0.113.7"),
}
NEVER: tuple[Both, ...] = (
    ("user names, accounts, who is signed in", "tên người dùng, tài khoản, ai đang đăng nhập"),
    ("the machine's host name", "tên máy trong hệ điều hành (host name)"),
    ("home folders; names and contents of files", "thư mục cá nhân; tên và nội dung tệp"),
    ("window titles, web addresses, browsing history", "tiêu đề cửa sổ, địa chỉ web, lịch sử duyệt web"),
    ("command lines; names of programs that this machine's own file does not list",
     "dòng lệnh; tên chương trình không có trong danh sách của chính máy này"),
    ("typed text, screenshots, camera, microphone", "nội dung gõ phím, ảnh màn hình, camera, micrô"),
    ("names of Wi-Fi networks (SSID, BSSID), whereabouts", "tên mạng Wi-Fi (SSID, BSSID), vị trí"),
    ("passwords of people", "mật khẩu của người dùng"),
)  # fmt: skip


def compose(own: Settings) -> list[Section]:
    """Every section, probes first; those that are off are named too, for the centre may switch most of them on."""
    settings = configuration.in_force(own)
    interval = settings.reports.interval
    return [
        *(_of_probe(name, settings.probes.get(name), interval) for name in probe.names()),
        Section(
            "agent",
            ("The agent itself", "Chính phần mềm giám sát"),
            True,
            _every(interval),
            probe.OWN_WHY,
            {".".join(key): metric for key, metric in probe.OWN_METRICS.items()},
            {".".join(key): tag for key, tag in probe.OWN_TAGS.items()},
        ),
        Section(
            "inventory",
            ("Inventory of the machine", "Kiểm kê cấu hình máy"),
            True,
            ("when it has changed; looked at every 5 to 7 hours", "khi có thay đổi; xem lại mỗi 5 đến 7 giờ"),
            inventory.WHY,
            {".".join(key): metric for key, metric in inventory.FIELDS.items()},
            {".".join(key): tag for key, tag in inventory.TAGS.items()},
        ),
        *_frames(settings),
    ]


def _of_probe(name: str, on: Any, interval: float) -> Section:
    module = probe.module(name)
    every = _every(max(interval, on.every if on else 0.0))
    if getattr(module.Probe, "elected", False):
        every = (
            f"{every[0]}; only on the machine of a room that the centre names",
            f"{every[1]}; chỉ trên một máy mỗi phòng do trung tâm chỉ định",
        )
    return Section(
        name,
        (f"Probe {name}", f"Bộ đo {name}"),
        on is not None,
        every,
        module.WHY,
        {".".join(key): metric for key, metric in module.METRICS.items()},
        {".".join(key): tag for key, tag in module.TAGS.items()},
    )


def _frames(settings: Settings) -> list[Section]:
    changes = ("when it connects, and when one of these changes", "khi kết nối và khi có thay đổi")
    asked = ("at enrolment; when identity or certificate are renewed", "khi đăng ký; khi gia hạn danh tính, chứng thư")
    each = ("with each message", "trong mỗi thông báo")
    rows: list[tuple[str, Both, bool, Both, Why, dict[str, Metric]]] = [
        ("report", ("Frame of reports", "Khuôn của báo cáo"), True, each,
         Why("So that no report is lost or counted twice.", "Để không mất và không trùng báo cáo."), FRAME),
        ("inventory_frame", ("Frame of the inventory", "Khuôn của bản kiểm kê"), True, each,
         Why("So that it is sent only when it has changed.", "Để chỉ gửi khi có thay đổi."), INVENTORY),
        ("presence", ("Connection", "Trạng thái kết nối"), True, changes,
         Why("Tells a machine that is off from one that is cut off.", "Phân biệt máy đã tắt với máy mất kết nối."),
         PRESENCE),
        ("enrolment", ("Enrolment", "Đăng ký"), True, asked,
         Why("Gives this machine an identity of its own, so that nobody else can speak for it.",
             "Cấp danh tính riêng cho máy này để không ai giả danh được."), ENROLMENT),
        ("connection", ("Addresses and signing in", "Địa chỉ và đăng nhập"), True, each,
         Why("Brings the messages to the right school.", "Để thông báo đến đúng trường."), CONNECTION),
    ]  # fmt: skip
    return [Section(*row, tags={}) for row in rows]


def _every(seconds: float) -> Both:
    if seconds < 120:
        return f"every {seconds:g} s", f"mỗi {seconds:g} giây"
    if seconds < 7200:
        return f"every {seconds / 60:g} min", f"mỗi {seconds / 60:g} phút"
    return f"every {seconds / 3600:g} h", f"mỗi {seconds / 3600:g} giờ"
