"""Where each system keeps what an inventory wants: Linux in /sys, /proc and os-release, Windows in its registry.

Reading and parsing are apart: what takes a text or a folder is the same on every system and raises nothing.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple

from schoolpulse_agent import proc, smbios

SYSTEM_CLASSES = r"SYSTEM\CurrentControlSet\Control\Class"
GPUS = SYSTEM_CLASSES + r"\{4d36e968-e325-11ce-bfc1-08002be10318}"  # of devices: Microsoft's GUID_DEVCLASS_DISPLAY
CURRENT = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"
# Block devices that are no piece of hardware of this machine; eMMC's hidden partitions.
NO_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|zd|drbd|rbd)\d*|mmcblk\d+(boot|rpmb|gp)\d*").match
VENDORS = {"8086": "Intel", "10de": "NVIDIA", "1002": "AMD", "15ad": "VMware", "1234": "QEMU", "1af4": "Virtio"}


class Part(NamedTuple):
    """One thing that a machine is made of; texts and numbers as they were read, not yet cleaned."""

    name: str
    tags: dict[str, str]
    fields: dict[str, Any]


def of_this_system() -> list[Callable[[], list[Part]]]:
    """What reads disks, graphics cards and the operating system here."""
    if sys.platform == "linux":
        return [disks_of_linux, gpus_of_linux, os_of_linux]
    if sys.platform == "win32":
        return [gpus_of_windows, os_of_windows]
    return [os_of_macos] if sys.platform == "darwin" else []


def text_of(path: Path, limit: int = 65_536) -> str:
    """The beginning of a file as text; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace").strip()
    except OSError:
        return ""


# Linux


def bios_of_linux(folder: Path = Path("/sys/class/dmi/id")) -> tuple[str, str]:
    """Version and date of the firmware, which any user may read."""
    return text_of(folder / "bios_version"), text_of(folder / "bios_date")


def cpu_model() -> str:
    """The processor's name in its maker's words."""
    if sys.platform == "linux":
        return parse_cpuinfo(text_of(Path("/proc/cpuinfo")))
    if sys.platform == "win32":
        return str(_key(r"HARDWARE\DESCRIPTION\System\CentralProcessor\0").get("ProcessorNameString", ""))
    return _sysctl("machdep.cpu.brand_string") or platform.processor()


def cores() -> int | None:
    """How many cores the processors have together; None where the system does not say."""
    if proc.LINUX:
        return parse_cores(text_of(Path("/proc/cpuinfo"), 2**20))
    import psutil

    found: int | None = psutil.cpu_count(logical=False)
    return found


def parse_cores(said: str) -> int | None:
    """The different pairs of socket and core in /proc/cpuinfo; None where it has none, as on ARM."""
    pairs = re.findall(r"^physical id\s*: (\d+)$(?:\n.+)*?\ncore id\s*: (\d+)$", said, re.MULTILINE | re.ASCII)
    return len(set(pairs)) or None


def memory_total() -> int:
    """Bytes of memory that the system can use."""
    if proc.LINUX:
        return (proc.number(proc.read("/proc/meminfo"), b"MemTotal:") or 0) * 1024
    import psutil

    return int(psutil.virtual_memory().total)


def parse_cpuinfo(said: str) -> str:
    """The processor's name in /proc/cpuinfo (proc(5)): "model name", on ARM "Model" or "Hardware"."""
    for name in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{name}[ \t]*:[ \t]*(\S.*)$", said, re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return ""


def disks_of_linux(folder: Path = Path("/sys/block")) -> list[Part]:
    """The disks that are built in: neither what is plugged in by USB nor can be taken out."""
    found = []
    for disk in sorted(folder.glob("*")):
        device = disk / "device"
        if NO_DISK(disk.name) or not device.exists() or text_of(disk / "removable") == "1":
            continue
        if "/usb" in str(device.resolve()):
            continue
        said = (text_of(device / "serial"), text_of(disk / "serial"), parse_page80(device / "vpd_pg80"))
        serial = next(filter(None, map(smbios.clean, said)), "")
        sectors, turns = text_of(disk / "size"), text_of(disk / "queue/rotational")
        fields = {
            "model": text_of(device / "model") or text_of(device / "name"),
            "size": int(sectors) * 512 if re.fullmatch("[0-9]{1,13}", sectors, re.ASCII) else None,  # always 512 here
            "rotational": int(turns) if turns in ("0", "1") else None,
        }
        found.append(Part("disk", {"serial": serial} if serial else {"name": disk.name}, fields))
    return found


def parse_page80(path: Path) -> str:
    """The serial number in a SCSI or SATA disk's page 80 (SPC-4, 7.8.15): after four bytes; empty if there is none."""
    try:
        with path.open("rb") as file:
            page = file.read(260)
    except OSError:
        return ""
    return page[4:].decode("ascii", "replace").strip(" \0") if page[1:2] == b"\x80" else ""


def gpus_of_linux(folder: Path = Path("/sys/class/drm")) -> list[Part]:
    """The graphics cards, by the PCI numbers of maker and model."""
    found = []
    for card in sorted(folder.glob("card*")):
        device = (card / "device").resolve()
        vendor, model = (text_of(device / name).replace("0x", "") for name in ("vendor", "device"))
        if not re.fullmatch(r"card\d+", card.name) or not (vendor and model):
            continue
        fields = {"vendor": VENDORS.get(vendor, ""), "id": f"{vendor}:{model}", "driver": driver(device)}
        found.append(Part("gpu", {"slot": device.name}, fields))
    return found


def card_of_linux(card: Path) -> dict[str, Any]:
    """Driver and kind of a network card; the kind alone, and that unknown, where there is no such folder."""
    wireless = (card / "wireless").exists() or (card / "phy80211").exists()
    kind = ("wifi" if wireless else "ethernet") if card.exists() else "card"
    return {"driver": driver(card / "device"), "kind": kind}


def driver(device: Path) -> str:
    """Name of the driver of a device in /sys; empty if it has none."""
    link = device / "driver"
    return link.resolve().name if link.exists() else ""


def os_of_linux() -> list[Part]:
    """The distribution and its kernel."""
    said = text_of(Path("/etc/os-release")) or text_of(Path("/usr/lib/os-release"))
    return [Part("os", {}, {**parse_os_release(said), "kernel": platform.release(), "arch": platform.machine()})]


def parse_os_release(said: str) -> dict[str, str]:
    """ID, version, build and name of a distribution, by os-release(5)."""
    keys = {"ID": "id", "VERSION_ID": "version", "BUILD_ID": "build", "PRETTY_NAME": "name"}
    found = {}
    for line in said.splitlines():
        name, mark, value = line.strip().partition("=")
        if mark and name in keys:
            quoted = re.fullmatch(r"([\"'])(.*)\1", value.strip())
            found[keys[name]] = re.sub(r"\\([$\"'\\`])", r"\1", quoted[2] if quoted else value.strip())
    return found


# Windows: not yet run on a real one


def _key(path: str) -> dict[str, Any]:
    """The values of a key below HKEY_LOCAL_MACHINE; none if it is not there or not ours to read."""
    found: dict[str, Any] = {}
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                for number in range(winreg.QueryInfoKey(key)[1]):
                    name, value, _ = winreg.EnumValue(key, number)
                    found[name] = value
        except OSError:
            return found
    return found


def gpus_of_windows(key: Callable[[str], dict[str, Any]] = _key) -> list[Part]:
    """The graphics cards that have a driver."""
    found = []
    for number in range(8):
        said = key(rf"{GPUS}\{number:04d}")
        if said.get("DriverDesc"):
            fields = {"model": str(said["DriverDesc"]), "vendor": str(said.get("ProviderName", ""))}
            found.append(Part("gpu", {"slot": f"display {number}"}, fields))
    return found


def os_of_windows(key: Callable[[str], dict[str, Any]] = _key) -> list[Part]:
    """Windows, from the registry. Of its values none that names an owner or an organisation is looked at."""
    return [Part("os", {}, {**parse_windows(key(CURRENT)), "kernel": platform.version(), "arch": platform.machine()})]


def parse_windows(said: dict[str, Any]) -> dict[str, str]:
    """What the key CurrentVersion means. Windows 11 still calls itself 10 there; its builds begin at 22000."""
    build = str(said.get("CurrentBuildNumber", ""))
    number = int(build) if re.fullmatch("[0-9]{1,9}", build, re.ASCII) else 0
    name = str(said.get("ProductName", ""))
    old = {"6.1": "7", "6.2": "8", "6.3": "8.1"}
    version = (
        "11" if number >= 22_000 else "10" if number >= 10_240 else old.get(str(said.get("CurrentVersion", "")), "")
    )
    if "Server" in name:
        year = re.search(r"\b20\d\d( R2)?\b", name)
        version = f"server-{year[0].replace(' ', '').lower()}" if year else "server"
    elif version == "11":
        name = name.replace("Windows 10", "Windows 11", 1)
    patch = said.get("UBR")
    found = {"id": "windows", "version": version, "name": name, "build": f"{build}.{patch}" if patch else build}
    release = str(said.get("DisplayVersion") or said.get("ReleaseId") or "")
    return {**found, "release": release}


# macOS: not yet run on a real one


def os_of_macos() -> list[Part]:
    """What Apple calls it, and its kernel."""
    fields = {"id": "macos", "version": platform.mac_ver()[0], "build": _sysctl("kern.osversion")}
    return [Part("os", {}, {**fields, "kernel": platform.release(), "arch": platform.machine()})]


def _sysctl(name: str) -> str:
    """One value of the system's own table; empty where there is none."""
    import subprocess

    try:
        ended = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.strip()
