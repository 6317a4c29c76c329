"""Which machine it is: what the hardware says is read, what makers left unfilled counts as nothing."""

from __future__ import annotations

import hashlib
import re
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import identity
from schoolpulse_agent.identity import System, fingerprint, normal, parse_smbios

UUID = "33221100-5544-7766-8899-aabbccddeeff"  # DSP0134's own example: 00 11 22 33 44 55 66 77 88 99 AA ...
RAW = bytes.fromhex("00112233445566778899aabbccddeeff")


def structure(kind: int, body: bytes, *texts: str) -> bytes:
    strings = b"\0".join(text.encode() for text in texts) + b"\0\0" if texts else b"\0\0"
    return struct.pack("<BBH", kind, 4 + len(body), 7) + body + strings


def system(
    raw: bytes = RAW, maker: str = "Dell Inc.", product: str = "OptiPlex 3080", serial: str = "7XK2P13"
) -> bytes:
    return structure(1, bytes([1, 2, 0, 3]) + raw + b"\x06\0\0", maker, product, serial)


BIOS = structure(0, bytes([1, 2]) + bytes(18), "American Megatrends", "1.2")
END = structure(127, b"")


def test_uuid_serial_maker_and_product_come_from_the_structure_of_type_1() -> None:
    found = System(UUID, "7XK2P13", "Dell Inc.", "OptiPlex 3080")
    assert parse_smbios(BIOS + structure(2, b"\1", "other") + system() + END) == found
    assert parse_smbios(system()) == found


def test_what_stands_after_the_end_of_the_table_does_not_count() -> None:
    assert parse_smbios(BIOS + END + system()) == System()


def test_an_old_table_without_a_uuid_has_none() -> None:
    assert parse_smbios(structure(1, bytes([1, 2, 0, 3]), "a", "b", "c")) == System("", "c", "a", "b")


@pytest.mark.parametrize("raw", [bytes(16), b"\xff" * 16, b"\x11" * 16])
def test_a_uuid_of_one_digit_is_none(raw: bytes) -> None:
    assert parse_smbios(system(raw)).uuid == ""


@pytest.mark.parametrize("known", ["03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009"])
def test_a_uuid_that_many_boards_share_is_none(known: str) -> None:
    assert parse_smbios(system(uuid.UUID(known).bytes_le)).uuid == ""


@pytest.mark.parametrize(
    "text",
    [
        *("To be filled by O.E.M.", "TO BE FILLED BY O.E.M", "Default string", "System Serial Number", "Not Specified"),
        *("None", "N/A", "0", " ", "0000000000", "123456789", "00000000-0000", "FFFFFFFF", "O.E.M.", "INVALID", "..."),
    ],
)
def test_what_makers_forgot_to_fill_out_is_empty(text: str) -> None:
    assert parse_smbios(system(serial=text, maker=text)) == System(UUID, "", "", "OptiPlex 3080")


@pytest.mark.parametrize("text", ["7XK2P13", "PF0ABC12", "System76", "1234-5678-9012-3456", "Nonesuch", "OEMax 5"])
def test_a_real_serial_stays(text: str) -> None:
    assert parse_smbios(system(serial=text)).serial == text


def test_texts_are_printable_and_bounded() -> None:
    found = parse_smbios(system(maker="  A\x07B\x1b[2J  ", product="p" * 300))
    assert found.manufacturer == "AB[2J"
    assert found.product == "p" * 64


@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing(table: bytes) -> None:
    found = parse_smbios(table)
    assert found.uuid == "" or len(found.uuid) == 36


@given(st.data())
def test_a_table_that_is_damaged_anywhere_raises_nothing(data: st.DataObject) -> None:
    table = bytearray(BIOS + system() + END)
    for _ in range(data.draw(st.integers(1, 4))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    found = parse_smbios(bytes(table[: data.draw(st.integers(0, len(table)))]))
    assert all(text.isprintable() for text in vars(found).values())


# Network cards


def card(root: Path, name: str, address: str, device: str | None, kind: str = "1") -> None:
    """One entry as in /sys/class/net."""
    folder = root / "net" / name
    folder.mkdir(parents=True)
    (folder / "address").write_text(address + "\n")
    (folder / "type").write_text(kind + "\n")
    if device:
        (root / device).mkdir(parents=True)
        (folder / "device").symlink_to(root / device)


def test_only_built_in_cards_count(tmp_path: Path) -> None:
    card(tmp_path, "enp99s0", "54:BF:64:00:00:02", "devices/pci0000:00/0000:00:1f.6")
    card(tmp_path, "wlp98s0", "3c:58:c2:00:00:01", "devices/pci0000:00/0000:00:14.3")
    card(tmp_path, "enx97", "00:e0:4c:00:00:01", "devices/pci0000:00/0000:00:14.0/usb1/1-2")
    card(tmp_path, "docker96", "02:42:00:00:00:01", None)
    card(tmp_path, "br95", "54:bf:64:00:00:02", None)
    card(tmp_path, "can94", "54:bf:64:00:00:09", "devices/pci0000:00/can", kind="280")
    assert sorted(identity.macs_of_linux(tmp_path / "net").values()) == ["3c:58:c2:00:00:01", "54:BF:64:00:00:02"]


@pytest.mark.parametrize(
    ("said", "mac"),
    [
        ("54-BF-64-00-00-02", "54:bf:64:00:00:02"),
        ("54:bf:64:00:00:02\n", "54:bf:64:00:00:02"),
        ("56:bf:64:00:00:02", None),  # made up by software
        ("01:00:5e:00:00:01", None),  # a group
        ("00:00:00:00:00:00", None),
        ("54:bf:64:00:00", None),
        ("", None),
    ],
)
def test_an_address_is_normal_only_if_a_maker_gave_it(said: str, mac: str | None) -> None:
    assert normal(said) == mac


def test_the_fingerprint_is_of_the_cards_and_without_any_of_the_uuid() -> None:
    of = hashlib.sha256(b"3c:58:c2:00:00:01,54:bf:64:00:00:02").hexdigest()[:16]
    assert fingerprint(["54:bf:64:00:00:02", "3c:58:c2:00:00:01"], UUID) == of
    assert fingerprint([], UUID) == hashlib.sha256(UUID.encode()).hexdigest()[:16]
    assert fingerprint([], "") == ""


def test_this_machine_is_the_same_each_time() -> None:
    found = identity.read()
    assert found == identity.read()
    assert re.fullmatch("([0-9a-f]{16})?", found.fingerprint)
    assert found.fingerprint == fingerprint(found.macs, found.uuid)
