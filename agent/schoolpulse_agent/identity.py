"""Which machine this is, read from the hardware at run time and never from a file: disks are cloned, boards are not."""

from __future__ import annotations

import array
import hashlib
import re
import socket
import struct
import sys
import uuid as uuids
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schoolpulse_agent import smbios

MAX_MACS = 16  # a server with more cards is known by its first ones
LOCAL, GROUP = 0x02, 0x01  # bits of a MAC's first byte: made up by software; not of one card
# Cards of hypervisors and tunnels whose address looks like a maker's: VMware, VirtualBox, Hyper-V, Parallels, Xen, TAP.
VIRTUAL = ("00:05:69", "00:0c:29", "00:1c:14", "00:50:56", "08:00:27", "00:15:5d", "00:1c:42", "00:16:3e", "00:ff:")
NO_UUID = {  # beside those of one digit
    "03000200-0400-0500-0006-000700080009",  # boards of several makers, all the same
    "00020003-0004-0005-0006-000700080009",  # the same, read in the other byte order
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
}


@dataclass(frozen=True)
class Hardware:
    """What tells this machine from others; texts are empty where the hardware says nothing or nonsense."""

    uuid: str = ""  # SMBIOS, lower case with dashes
    serial: str = ""
    manufacturer: str = ""
    product: str = ""
    macs: tuple[str, ...] = ()  # of built-in network cards, lower case with colons, sorted
    fingerprint: str = ""  # see `fingerprint`


@dataclass(frozen=True)
class System:
    """The SMBIOS table's structure of type 1, System Information."""

    uuid: str = ""
    serial: str = ""
    manufacturer: str = ""
    product: str = ""


def read() -> Hardware:
    """Look at this machine. Never raises; what can't be read is empty (without root Linux hides uuid and serial)."""
    table = smbios.read()
    system = parse_smbios(table) if table else _sysfs(Path("/sys/class/dmi/id"))
    macs = tuple(sorted(cards())[:MAX_MACS])
    found = Hardware(system.uuid, system.serial, system.manufacturer, system.product, macs)
    return Hardware(**{**vars(found), "fingerprint": fingerprint(macs, system.uuid)})


def fingerprint(macs: Iterable[str], uuid: str) -> str:
    """16 hex digits that any user of a machine finds the same at each boot: of its cards, or if it has none its UUID.

    The first 16 of the SHA-256 over the sorted MACs joined by commas, or over the UUID; empty if there is neither.
    """
    said = ",".join(sorted(macs)) or uuid
    return hashlib.sha256(said.encode()).hexdigest()[:16] if said else ""


def parse_smbios(table: bytes) -> System:
    """Read the raw structure table of SMBIOS (DMTF DSP0134). Never raises: what is cut off or wrong is empty.

    The UUID's first three fields are little-endian, as since version 2.6 of that specification (7.2.1).
    """
    for each in smbios.structures(table):
        if each.kind == 1:
            raw = each.body[8:24]
            return System(
                uuid=_uuid(str(uuids.UUID(bytes_le=raw))) if len(raw) == 16 else "",
                serial=each.text(7),
                manufacturer=each.text(4),
                product=each.text(5),
            )
    return System()


def _uuid(said: str) -> str:
    said = said.strip().lower()
    whole = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)
    return said if whole and said not in NO_UUID and len(set(said)) > 2 else ""


def _sysfs(folder: Path) -> System:
    """What Linux shows of the same table; uuid and serial to root only."""
    return System(
        uuid=_uuid(_file(folder / "product_uuid")),
        serial=smbios.clean(_file(folder / "product_serial")),
        manufacturer=smbios.clean(_file(folder / "sys_vendor")),
        product=smbios.clean(_file(folder / "product_name")),
    )


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def cards() -> dict[str, str]:
    """This machine's built-in network cards: MAC -> name of the interface. Never raises."""
    try:
        if sys.platform == "linux":
            found = [(address, name) for name, address in macs_of_linux(Path("/sys/class/net")).items()]
        else:
            import psutil

            addresses = [(each, name) for name, card in psutil.net_if_addrs().items() for each in card]
            found = [(each.address, name) for each, name in addresses if each.family == psutil.AF_LINK]
    except (OSError, RuntimeError):  # not shown to us, or a loop of links
        return {}
    macs = {normal(address): name for address, name in found}
    return {mac: name for mac, name in macs.items() if mac and not mac.startswith(VIRTUAL)}


def macs_of_linux(folder: Path) -> dict[str, str]:
    """Addresses by name of the Ethernet and Wi-Fi cards in a folder like /sys/class/net that hang on no USB."""
    found = {}
    for card in folder.glob("*"):
        device = card / "device"
        if not device.exists() or _file(card / "type") != "1" or "/usb" in str(device.resolve()):
            continue
        found[card.name] = _permanent(card.name) or _file(card / "address")
    return found


def normal(mac: str) -> str | None:
    """A MAC in lower case with colons; None if it isn't one that a maker gave to a card."""
    mac = mac.strip().lower().replace("-", ":")
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac) or mac == "00:00:00:00:00:00":
        return None
    return None if int(mac[:2], 16) & (LOCAL | GROUP) else mac


def _permanent(name: str) -> str:
    """The address burnt into a card: a bond or Wi-Fi privacy shows another. Linux ETHTOOL_GPERMADDR, for any user."""
    if sys.platform != "linux":
        return ""
    import fcntl

    reply = array.array("B", struct.pack("II", 0x20, 32) + bytes(32))  # struct ethtool_perm_addr
    try:
        with socket.socket() as any_socket:  # SIOCETHTOOL with a struct ifreq
            request = struct.pack("16sP16x", name.encode()[:15], reply.buffer_info()[0])
            fcntl.ioctl(any_socket, 0x8946, request)
    except OSError:
        return ""
    return reply.tobytes()[8:14].hex(":") if any(reply[8:14]) else ""
