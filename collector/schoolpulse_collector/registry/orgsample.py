"""Sample data: the city's 16 clusters as the press named them in October 2025, and schools that do not exist."""

from __future__ import annotations

from typing import Any

from schoolpulse_collector.registry.orgcolumns import MEMBERSHIPS, ROOMS, SCHOOLS, UNITS, Sheet

SOURCE = "nguồn báo chí 10/2025"
WARDS_SINCE = "2025-07-01"  # wards answer to the city directly from that day
CLUSTERS = (
    "Củ Chi, Hóc Môn",
    "Hóc Môn, Quận 12 cũ",
    "Tân Phú, Tân Bình cũ",
    "Gò Vấp, Phú Nhuận/Bình Thạnh cũ",
    "Bình Thạnh, Quận 1, 3, 4 cũ",
    "Quận 5, 6, 10, 11 cũ",
    "Quận 6, Bình Tân cũ",
    "Quận 4, 7, 8 cũ",
    "Dĩ An, Thủ Đức",
    "Thủ Đức",
    "Bình Chánh, Cần Giờ, Nhà Bè",
    "Thủ Dầu Một, Thuận An",
    "khu vực Tân Uyên",
    "khu vực Bến Cát",
    "khu vực Vũng Tàu",
    "Bà Rịa - Vũng Tàu còn lại, đặc khu Côn Đảo",
)
CLUSTER_6 = {  # its wards
    "p-cho-quan": "Chợ Quán",
    "p-an-dong": "An Đông",
    "p-cho-lon": "Chợ Lớn",
    "p-dien-hong": "Diên Hồng",
    "p-vuon-lai": "Vườn Lài",
    "p-hoa-hung": "Hòa Hưng",
    "p-binh-thoi": "Bình Thới",
    "p-hoa-binh": "Hòa Bình",
    "p-phu-tho": "Phú Thọ",
    "p-minh-phung": "Minh Phụng",
    "p-binh-tay": "Bình Tây",
    "p-binh-tien": "Bình Tiên",
}
KINDS = (  # level, how its name begins, its rooms
    ("tieu_hoc", "Trường Tiểu học", ("Phòng máy 1", "Văn phòng")),
    ("thcs", "Trường THCS", ("Phòng máy 1", "Phòng máy 2", "Văn phòng")),
    ("thpt", "Trường THPT", ("Phòng máy 1", "Phòng máy 2", "Phòng máy 3", "Phòng máy chủ")),
    ("mam_non", "Trường Mầm non", ("Văn phòng",)),
    ("gdtx", "Trung tâm GDNN-GDTX", ("Phòng máy 1", "Văn phòng")),
)
NAMES = ("Hoa Sen", "Ánh Dương", "Bình Minh", "Hướng Dương", "Phù Sa", "Sao Mai", "Cầu Vồng", "Gió Mới")
PROVIDERS = ("VNPT", "Viettel", "FPT", "CMC")
COUNT = 40


def tables() -> list[tuple[Sheet, list[tuple[Any, ...]]]]:
    """All of it, as `orgsheet.to_csv` and `to_xlsx` write it."""
    units: list[tuple[Any, ...]] = [("tphcm", "Thành phố Hồ Chí Minh", "city", None)]
    for number, area in enumerate(CLUSTERS, 1):
        units.append((f"cum-{number:02d}", f"Cụm chuyên môn {number}: {area} ({SOURCE})", "cluster", "tphcm"))
    units += [(key, f"Phường {name} ({SOURCE})", "ward", "tphcm") for key, name in CLUSTER_6.items()]
    schools, memberships, rooms = list[tuple[Any, ...]](), list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    wards = list(CLUSTER_6)
    for number in range(COUNT):
        key, cluster = f"gd{number + 1:03d}", number % len(CLUSTERS) + 1
        level, begin, own_rooms = KINDS[number % len(KINDS)]
        name = f"{begin} {NAMES[number // len(KINDS)]} (giả định)"
        schools.append((key, name, "", level, "", None, None, PROVIDERS[number % len(PROVIDERS)], None))
        memberships.append((key, f"cum-{cluster:02d}", "", ""))
        if cluster == 6:
            memberships.append((key, wards[number // len(CLUSTERS)], WARDS_SINCE, ""))
        rooms += [(f"{key}-p{at}", key, room) for at, room in enumerate(own_rooms, 1)]
    return [(UNITS, units), (SCHOOLS, schools), (MEMBERSHIPS, memberships), (ROOMS, rooms)]
