"""What this machine is made of and runs, for its inventory at the centre: read rarely, sent when it has changed.

``FIELDS`` is the manifest of it: ``read`` lets nothing out that does not stand there. What changes by itself (a link's
speed, free memory) is no inventory, the machine's name never is: people name machines after themselves.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any, Callable

from schoolpulse_agent import __version__, identity, inventorysources, parts, smbios
from schoolpulse_agent.inventorysources import Part
from schoolpulse_agent.probe import Metric, Tag, Why
from schoolpulse_agent.wire import MAX_TEXT, MAX_VALUES, TOP, group_key, split_group

log = logging.getLogger(__name__)

ROUND = 256 * 2**20  # what Linux keeps for itself changes with each kernel: installed memory is near a multiple of this


FIELDS: dict[tuple[str, str], Metric] = {
    ("system", "manufacturer"): Metric("", "Maker of the machine", "Hãng sản xuất máy", "Dell Inc."),
    ("system", "product"): Metric("", "Model of the machine", "Kiểu máy", "OptiPlex 3080"),
    ("system", "serial"): Metric("", "Serial number of the machine", "Số sê-ri của máy", "7XK2P13"),
    ("system", "uuid"): Metric(
        "", "Number that the maker gave the board", "Mã số bo mạch do hãng đặt", "4c4c4544-0058-4b10-8032-b7c04f503133"
    ),
    ("bios", "version"): Metric("", "Version of the firmware", "Phiên bản BIOS", "2.18.0"),
    ("bios", "date"): Metric("", "Date of the firmware", "Ngày phát hành BIOS", "09/12/2023"),
    ("cpu", "model"): Metric("", "Model of the processor", "Loại CPU", "Intel(R) Core(TM) i3-10100 CPU @ 3.60GHz"),
    ("cpu", "cores"): Metric("1", "Cores of the processor", "Số nhân CPU", "4"),
    ("cpu", "threads"): Metric("1", "Threads of the processor", "Số luồng CPU", "8"),
    ("memory", "total"): Metric("B", "Memory installed, rounded", "Dung lượng RAM, làm tròn", "8589934592"),
    ("memory", "size"): Metric("B", "Size of a memory module", "Dung lượng thanh RAM", "8589934592"),
    ("memory", "type"): Metric("", "Kind of a memory module", "Loại thanh RAM", "DDR4"),
    ("memory", "speed"): Metric("MT/s", "Speed a memory module can do", "Tốc độ tối đa của thanh RAM", "2666"),
    ("memory", "manufacturer"): Metric("", "Maker of a memory module", "Hãng sản xuất thanh RAM", "Kingston"),
    ("disk", "model"): Metric("", "Model of a disk", "Loại ổ đĩa", "KINGSTON SA400S37240G"),
    ("disk", "size"): Metric("B", "Size of a disk", "Dung lượng ổ đĩa", "240057409536"),
    ("disk", "rotational"): Metric("1", "Disk turns (1) or is an SSD (0)", "Ổ HDD (1) hay SSD (0)", "0"),
    ("network", "driver"): Metric("", "Driver of a network card", "Trình điều khiển của card mạng", "e1000e"),
    ("network", "kind"): Metric("", "Cable or wireless", "Card mạng dây hay không dây", "ethernet"),
    ("gpu", "model"): Metric("", "Model of a graphics card", "Loại card đồ họa", "Intel(R) UHD Graphics 630"),
    ("gpu", "vendor"): Metric("", "Maker of a graphics card", "Hãng sản xuất card đồ họa", "Intel"),
    ("gpu", "id"): Metric("", "Number of a graphics card's model", "Mã loại card đồ họa", "8086:9bc8"),
    ("gpu", "driver"): Metric("", "Driver of a graphics card", "Trình điều khiển của card đồ họa", "i915"),
    ("os", "id"): Metric("", "Operating system", "Hệ điều hành", "windows"),
    ("os", "version"): Metric("", "Its version", "Phiên bản hệ điều hành", "11"),
    ("os", "release"): Metric("", "Its release", "Bản phát hành hệ điều hành", "22H2"),
    ("os", "build"): Metric("", "Its build", "Số bản dựng hệ điều hành", "22621.3007"),
    ("os", "kernel"): Metric("", "Its kernel", "Phiên bản nhân hệ điều hành", "6.1.0-18-amd64"),
    ("os", "arch"): Metric("", "Kind of processor it is made for", "Kiến trúc bộ xử lý", "x86_64"),
    ("os", "name"): Metric("", "Its full name", "Tên đầy đủ của hệ điều hành", "Windows 11 Pro"),
    ("agent", "version"): Metric("", "Version of this agent", "Phiên bản phần mềm giám sát (agent)", "0.1.0"),
    ("agent", "python"): Metric("", "Version of Python that it runs on", "Phiên bản Python đang dùng", "3.11.2"),
}
TAGS: dict[tuple[str, str], Tag] = {
    ("memory", "slot"): Tag("Where the module is plugged in", "Khe cắm thanh RAM", "DIMM_A1"),
    ("disk", "serial"): Tag("Serial number of the disk", "Số sê-ri của ổ đĩa", "50026B7782A1B2C3"),
    ("disk", "name"): Tag("Disk without a serial number: its name", "Ổ đĩa không có số sê-ri: tên ổ", "sda"),
    ("network", "mac"): Tag("Address of a built-in network card", "Địa chỉ MAC của card mạng", "54:bf:64:00:00:02"),
    ("gpu", "slot"): Tag("Where the graphics card is", "Vị trí của card đồ họa", "0000:00:02.0"),
}
WHY = Why(
    "Tells which machine this is and what it is made of: for the school's list of equipment, for repair and buying, and"
    " to notice memory or disks that are gone.",
    "Cho biết đây là máy nào, gồm những linh kiện gì: phục vụ kiểm kê, sửa chữa, mua sắm của trường, và phát hiện RAM"
    " hay ổ đĩa bị mất.",
)


def read() -> parts.Inventory:
    """Look at this machine; takes up to a second, may run in a thread. Never raises: what can't be read is left out."""
    return parts.inventory_of(listed(_found(inventorysources.of_this_system())))


def listed(found: Iterable[Part]) -> parts.Parts:
    """Of these parts what stands in ``FIELDS`` and ``TAGS``, cleaned, and at most what one message may hold."""
    made: parts.Parts = {}
    room = MAX_VALUES
    for part in found:
        if any((part.name, tag) not in TAGS for tag in part.tags):
            continue
        tags = {tag: smbios.clean(value, 128) for tag, value in part.tags.items()}
        key = group_key(part.name, tags)
        fields = {name: _plain(value) for name, value in part.fields.items() if (part.name, name) in FIELDS}
        fields = {name: value for name, value in fields.items() if value is not None}
        if fields and all(tags.values()) and key not in made and len(fields) <= room:
            split_group(key)  # which the centre does too
            made[key] = fields
            room -= len(fields)
    return made


def _plain(value: Any) -> str | float | int | None:
    """A value as the wire takes it, None for what says nothing."""
    if isinstance(value, str):
        return smbios.clean(value, MAX_TEXT) or None
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (int, float)) and isfinite(value) and 0 <= value <= TOP else None


def _found(sources: list[Callable[[], list[Part]]]) -> list[Part]:
    """What all sources say; one that fails keeps none of the others from it."""
    found: list[Part] = []
    for source in [system, cpu, memory, network, *sources, agent]:
        try:
            found += source()
        except Exception as why:  # of another system's odd files; the rest is worth having
            log.info("inventory: %s: %s: %s", getattr(source, "__name__", source), type(why).__name__, why)
    return found


def system() -> list[Part]:
    """The machine as a whole and its firmware."""
    hardware, firmware = identity.read(), smbios.bios(smbios.read())
    version, date = firmware if firmware.version else inventorysources.bios_of_linux()
    own = {name: getattr(hardware, name) for name in ("manufacturer", "product", "serial", "uuid")}
    return [Part("system", {}, own), Part("bios", {}, {"version": version, "date": date})]


def cpu() -> list[Part]:
    """The processors, as one."""
    fields = {"model": inventorysources.cpu_model(), "cores": inventorysources.cores(), "threads": os.cpu_count()}
    return [Part("cpu", {}, fields)]


def memory() -> list[Part]:
    """Memory: the modules where the board's table can be read, else the whole alone."""
    modules = smbios.memory(smbios.read())
    total = sum(module.size for module in modules) or round(inventorysources.memory_total() / ROUND) * ROUND
    return [Part("memory", {}, {"total": total}), *map(_module, modules, slots(modules))]


def _module(module: smbios.Module, slot: str) -> Part:
    fields = {"size": module.size, "type": module.type, "speed": module.speed or None}
    return Part("memory", {"slot": slot}, {**fields, "manufacturer": module.manufacturer})


def slots(modules: list[smbios.Module]) -> list[str]:
    """A name for each module's slot, no two the same: boards call several of them DIMM 0."""
    names: list[str] = []
    for number, module in enumerate(modules, 1):
        known = [module.slot, f"{module.slot} {module.bank}".strip(), f"{module.slot} {number}".strip()]
        names.append(next((name for name in known if name and name not in names), f"slot {number}"))
    return names


def network() -> list[Part]:
    """The built-in network cards."""
    folder = Path("/sys/class/net")
    found = sorted(identity.cards().items())[: identity.MAX_MACS]
    return [Part("network", {"mac": mac}, inventorysources.card_of_linux(folder / name)) for mac, name in found]


def agent() -> list[Part]:
    """This agent itself."""
    return [Part("agent", {}, {"version": __version__, "python": platform.python_version()})]
