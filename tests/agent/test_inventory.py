"""The inventory: what a machine is made of is read from its system's own places, and nothing else comes along."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import inventory, inventorysources, parts, smbios, wire
from schoolpulse_agent.inventorysources import Part, parse_cpuinfo, parse_os_release, parse_page80, parse_windows


def structure(kind: int, body: bytes, *texts: str) -> bytes:
    strings = b"\0".join(text.encode() for text in texts) + b"\0\0" if texts else b"\0\0"
    return struct.pack("<BBH", kind, 4 + len(body), 7) + body + strings


def module(size: int, slot: str, bank: str = "BANK 0", kind: int = 0x1A, speed: int = 2666, big: int = 0) -> bytes:
    """A structure of type 17 with the layout of DSP0134 3.2: 0x28 bytes."""
    body = struct.pack("<HHHHHBBBBBHH4BBLH", 0, 0, 64, 64, size, 9, 0, 1, 2, kind, 0, speed, 3, 0, 0, 0, 0, big, 0)
    return structure(17, body, slot, bank, "Kingston")


END = structure(127, b"")
GB = 2**30


def test_memory_modules_are_read_from_the_boards_table() -> None:
    table = module(8192, "DIMM_A1") + module(0, "DIMM_A2") + module(4096, "DIMM_B1", kind=0x18, speed=1600) + END
    assert smbios.memory(table) == [
        smbios.Module("DIMM_A1", "BANK 0", 8 * GB, "DDR4", 2666, "Kingston"),
        smbios.Module("DIMM_B1", "BANK 0", 4 * GB, "DDR3", 1600, "Kingston"),
    ]


def test_sizes_in_kilobytes_extended_and_unknown_are_understood() -> None:
    table = module(0x8000 | 512, "A") + module(0x7FFF, "B", big=65536) + module(0xFFFF, "C") + END
    assert [each.size for each in smbios.memory(table)] == [512 * 2**10, 64 * GB]


def test_the_firmware_says_version_and_date() -> None:
    table = structure(0, bytes([1, 2, 0, 0, 3]) + bytes(13), "Dell Inc.", "2.18.0", "09/12/2023") + END
    assert smbios.bios(table) == smbios.Bios("2.18.0", "09/12/2023")
    assert smbios.bios(END) == smbios.Bios()


def test_slots_that_a_board_calls_the_same_get_names_of_their_own() -> None:
    table = module(8192, "DIMM 0", "P0 A") + module(8192, "DIMM 0", "P0 B") + module(8192, "DIMM 0", "P0 B")
    names = inventory.slots(smbios.memory(table + module(8192, " ", " ")))
    assert names == ["DIMM 0", "DIMM 0 P0 B", "DIMM 0 3", "4"]


@given(st.binary(max_size=300))
def test_random_bytes_are_a_table_without_errors(table: bytes) -> None:
    modules = smbios.memory(table)
    assert all(each.size > 0 for each in modules)
    assert len(set(inventory.slots(modules))) == len(modules)
    smbios.bios(table)


@given(st.data())
def test_a_damaged_table_gives_an_inventory_that_the_wire_takes(data: st.DataObject) -> None:
    table = bytearray(module(8192, "DIMM_A1") + module(8192, "DIMM_B1") + END)
    for _ in range(data.draw(st.integers(0, 6))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    modules = smbios.memory(bytes(table))
    parts.inventory_of(inventory.listed(map(inventory._module, modules, inventory.slots(modules))))


# Disks


def disk(root: Path, name: str, place: str, **files: str) -> Path:
    """One entry as in /sys/block; ``files`` with ``device_`` lie in its device's folder."""
    folder, device = root / "block" / name, root / place
    folder.mkdir(parents=True)
    device.mkdir(parents=True)
    (folder / "queue").mkdir()
    (folder / "device").symlink_to(device)
    for key, text in {"size": "1000", **files}.items():
        where = device / key[7:] if key.startswith("device_") else folder / key
        where.write_text(text + "\n")
    (folder / "queue/rotational").write_text("0\n")
    return device


def test_disks_are_known_by_serial_and_without_one_by_name(tmp_path: Path) -> None:
    sata = disk(tmp_path, "sda", "pci/ata1", device_model="KINGSTON SA400", size="468862128")
    (sata / "vpd_pg80").write_bytes(b"\0\x80\0\x0850026B77")
    disk(tmp_path, "nvme0n1", "pci/nvme0", device_serial="S4EWNX0M", device_model="SAMSUNG MZVLB256  ")
    disk(tmp_path, "vda", "pci/virtio1")
    disk(tmp_path, "sdb", "pci/ata2", device_serial="0000000000")
    found = {next(iter(part.tags.items())): part.fields for part in inventorysources.disks_of_linux(tmp_path / "block")}
    assert set(found) == {("serial", "50026B77"), ("serial", "S4EWNX0M"), ("name", "vda"), ("name", "sdb")}
    assert found["serial", "50026B77"] == {"model": "KINGSTON SA400", "size": 468862128 * 512, "rotational": 0}


def test_what_is_plugged_in_or_no_disk_at_all_is_no_part_of_the_machine(tmp_path: Path) -> None:
    disk(tmp_path, "sdc", "pci/usb1/1-1/host3")
    disk(tmp_path, "sdd", "pci/reader", removable="1")
    for number, name in enumerate(["loop0", "zram0", "dm-0", "md127", "sr0", "ram0", "nbd0", "mmcblk0boot0"]):
        disk(tmp_path, name, f"pci/{number}")
    assert inventorysources.disks_of_linux(tmp_path / "block") == []


@given(page=st.binary(max_size=300))
def test_any_bytes_are_a_page_80_without_errors(page: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "page80"
    path.write_bytes(page)
    assert isinstance(parse_page80(path), str)


# Cards


def test_a_graphics_card_says_maker_numbers_and_driver_and_its_outlets_are_none(tmp_path: Path) -> None:
    device = tmp_path / "pci/0000:00:02.0"
    (tmp_path / "drivers/i915").mkdir(parents=True)
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x8086\n")
    (device / "device").write_text("0x9bc8\n")
    (device / "driver").symlink_to(tmp_path / "drivers/i915")
    for name in ("card0", "card0-HDMI-A-1"):
        (tmp_path / "drm" / name).mkdir(parents=True)
        (tmp_path / "drm" / name / "device").symlink_to(device)
    assert inventorysources.gpus_of_linux(tmp_path / "drm") == [
        Part("gpu", {"slot": "0000:00:02.0"}, {"vendor": "Intel", "id": "8086:9bc8", "driver": "i915"})
    ]


def test_a_network_card_says_whether_it_is_wireless(tmp_path: Path) -> None:
    (tmp_path / "wlp2s0/wireless").mkdir(parents=True)
    (tmp_path / "eno1").mkdir()
    kinds = [inventorysources.card_of_linux(tmp_path / name)["kind"] for name in ("wlp2s0", "eno1", "Ethernet")]
    assert kinds == ["wifi", "ethernet", "card"]


# Systems


def test_os_release_is_read_with_its_quotes() -> None:
    said = 'PRETTY_NAME="Ubuntu 22.04.3 LTS"\nID=ubuntu\nVERSION_ID="22.04"\n# x\nHOME_URL="https://x"\nBUILD_ID=\'a\\$b\'\n'
    assert parse_os_release(said) == {"name": "Ubuntu 22.04.3 LTS", "id": "ubuntu", "version": "22.04", "build": "a$b"}


@pytest.mark.parametrize(
    ("said", "version", "name", "release", "build"),
    [
        (("Windows 10 Pro", "22621", 3007, "22H2"), "11", "Windows 11 Pro", "22H2", "22621.3007"),
        (("Windows 10 Education", "19045", 3803, "22H2"), "10", "Windows 10 Education", "22H2", "19045.3803"),
        (
            ("Windows Server 2019 Standard", "17763", 1, ""),
            "server-2019",
            "Windows Server 2019 Standard",
            "",
            "17763.1",
        ),
        (("Windows Server 2012 R2", "9600", 0, ""), "server-2012r2", "Windows Server 2012 R2", "", "9600"),
    ],
)
def test_windows_says_its_version_in_the_registry(
    said: tuple[str, str, int, str], version: str, name: str, release: str, build: str
) -> None:
    key = dict(zip(("ProductName", "CurrentBuildNumber", "UBR", "DisplayVersion"), said, strict=True))
    owner = {"RegisteredOwner": "Nguyễn Văn A", "RegisteredOrganization": "Nhà cô B", "PathName": r"C:\Users\A"}
    found = parse_windows({**key, **owner, "CurrentVersion": "6.3"})
    assert found == {"id": "windows", "version": version, "name": name, "release": release, "build": build}


def test_windows_7_is_told_by_its_number() -> None:
    key = {"CurrentVersion": "6.1", "CurrentBuildNumber": "7601", "ProductName": "Windows 7 Professional"}
    assert parse_windows(key)["version"] == "7"


def test_graphics_cards_of_windows_come_from_the_registry() -> None:
    keys = {rf"{inventorysources.GPUS}\0000": {"DriverDesc": "Intel(R) UHD Graphics 630", "ProviderName": "Intel"}}
    found = inventory.listed(inventorysources.gpus_of_windows(lambda path: keys.get(path, {})))
    assert found == {"gpu,slot=display 0": {"model": "Intel(R) UHD Graphics 630", "vendor": "Intel"}}


@given(st.text())
def test_any_text_is_a_cpuinfo_and_an_os_release_without_errors(said: str) -> None:
    assert isinstance(parse_cpuinfo(said), str)
    assert set(parse_os_release(said)) <= {"id", "version", "build", "name"}


@given(st.dictionaries(st.sampled_from(["ProductName", "CurrentBuildNumber", "UBR", "CurrentVersion"]), st.text()))
def test_any_registry_is_a_windows_without_errors(said: dict[str, str]) -> None:
    assert parse_windows(said)["id"] == "windows"


def test_the_processors_name_is_one_line_without_double_spaces() -> None:
    assert parse_cpuinfo("processor\t: 0\nmodel name\t: Intel(R)  Core(TM) i3\nx") == "Intel(R) Core(TM) i3"
    assert parse_cpuinfo("Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4") == "Raspberry Pi 4"


# What leaves the machine


def test_only_what_stands_in_the_manifest_gets_out() -> None:
    found = inventory.listed(
        [
            Part("os", {}, {"id": "debian", "hostname": "GV-NGUYENVANA"}),
            Part("system", {"owner": "nva"}, {"product": "x"}),
            Part("people", {}, {"name": "nva"}),
            Part("disk", {"serial": "To be filled by O.E.M."}, {"size": 1}),
            Part("bios", {}, {"version": "Default string", "date": "1\x1b[2J/2\n3" + "x" * 300}),
            Part("cpu", {}, {"cores": float("nan"), "threads": None, "model": ""}),
        ]
    )
    assert set(found) == {"os", "bios"}
    assert found["os"] == {"id": "debian"}
    (date,) = found["bios"].values()
    assert date == ("1[2J/23" + "x" * 300)[: wire.MAX_TEXT]


ANY = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text()))


@given(
    st.lists(
        st.builds(
            Part,
            st.sampled_from(sorted({part for part, _ in inventory.FIELDS} | {"people"})),
            st.dictionaries(st.sampled_from(["slot", "serial", "name", "mac"]), st.text(), max_size=2),
            st.dictionaries(st.sampled_from(sorted({name for _, name in inventory.FIELDS} | {"host"})), ANY),
        )
    )
)
def test_whatever_is_read_the_wire_takes_what_is_let_out(found: list[Part]) -> None:
    made = parts.inventory_of(inventory.listed(found))
    assert parts.decode_inventory(parts.encode_inventory(made)) == made
    for key, fields in made.parts.items():
        name, tags = wire.split_group(key)
        assert all((name, tag) in inventory.TAGS for tag, _ in tags)
        assert all((name, field) in inventory.FIELDS for field in fields)


def test_this_machine_has_an_inventory_the_same_each_time() -> None:
    found = inventory.read()
    assert found == inventory.read()
    assert {"cpu", "memory", "os", "agent"} <= {key.split(",")[0] for key in found.parts}


def test_a_source_that_fails_costs_nothing_but_its_own_parts() -> None:
    def broken() -> list[Part]:
        raise RuntimeError("odd file")

    found = inventory._found([broken, lambda: [Part("os", {}, {"id": "debian"})]])
    assert Part("os", {}, {"id": "debian"}) in found
    assert any(part.name == "agent" for part in found)


@pytest.mark.parametrize(
    "entry", [*inventory.FIELDS.items(), *inventory.TAGS.items()], ids=lambda entry: ".".join(entry[0])
)
def test_every_field_says_what_it_is_in_both_languages_with_an_example(entry) -> None:
    _, said = entry
    assert said.en and said.vi and said.en != said.vi and said.example
