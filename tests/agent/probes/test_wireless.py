"""Wi-Fi signals, of the kernel's old table and of netlink messages as the kernel makes them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import nl80211, proc
from schoolpulse_agent.nl80211 import attribute, attributes, messages
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import wireless

HEAD = """Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
"""
HOME = "Nhà cô Lan".encode()  # a network's name: it must go nowhere
MAC = bytes.fromhex("021122334455")


def line(name: str, link: str, level: str, noise: str) -> str:
    return f"{name:>6}: 0000 {link:>5} {level:>5} {noise:>5}        0      0      0   1525      0        0\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (line("wlan0", "60.", "-50.", "-256"), {"wlan0": {"link": 60.0, "level": -50.0}}),
        (line("wlan0", "60.", "-50.", "-92."), {"wlan0": {"link": 60.0, "level": -50.0, "noise": -92.0}}),
        (line("wlp0s20f3", "0.", "-110.", "-256"), {"wlp0s20f3": {"level": -110.0}}),
        (line("wlan0", "0", "0", "0"), {}),  # not connected
        (line("wlan0", "0", "-256", "-256"), {}),
        (line("ra0", "80.", "155.", "0."), {"ra0": {"link": 80.0}}),  # no dBm
        (line("a", "60.", "-50.", "-256") + line("b", "9.", "-101.", "-256"), {"a", "b"}),
        ("", {}),
    ],
)
def test_the_kernels_table_gives_the_connected_interfaces(said: str, expected: object) -> None:
    found = wireless.parse((HEAD + said).encode())
    assert (set(found) if isinstance(expected, set) else found) == expected


@given(st.binary(max_size=200) | st.text(" wlan0:.-1234\n", max_size=200).map(lambda text: (HEAD + text).encode()))
def test_no_table_is_too_odd(table: bytes) -> None:
    for fields in wireless.parse(table).values():
        assert fields and fields.get("link", 1.0) > 0
        assert all(-256 < fields[kind] < 0 for kind in ("level", "noise") if kind in fields)


def test_the_quality_is_the_kernels_own_of_a_signal() -> None:
    assert [wireless.quality(level) for level in (-120.0, -110.0, -55.0, -40.0, -20.0)] == [0, 0, 55, 70, 70]


# Netlink


def reply(*said: bytes) -> bytes:
    """The attributes of one station as nl80211 gives them, with these in its nested information."""
    index, mac = attribute(nl80211.IFINDEX, struct.pack("=I", 3)), attribute(6, MAC)
    return index + mac + attribute(0x8000 | nl80211.STA_INFO, b"".join(said))


SIGNAL = attribute(nl80211.SIGNAL, struct.pack("=b", -61))


class Kernel:
    """Answers as one whose family nl80211 has a number, and whose interfaces have these stations."""

    def __init__(self, stations: dict[int, list[bytes]]) -> None:
        self.stations = stations

    def __call__(self, family: int, command: int, wanted: bytes, everything: bool) -> list[bytes]:
        said = attributes(wanted)
        if family == nl80211.GENERIC:
            if said[nl80211.FAMILY_NAME] != b"nl80211\0":
                raise FileNotFoundError
            return [attribute(nl80211.FAMILY_ID, struct.pack("=H", 28)) + attribute(3, struct.pack("=I", 1))]
        assert (family, command, everything) == (28, nl80211.GET_STATION, True)
        index = struct.unpack("=I", said[nl80211.IFINDEX])[0]
        if index not in self.stations:
            raise OSError(19, "no such device")
        return self.stations[index]


@pytest.mark.parametrize(
    ("stations", "expected"),
    [
        ([reply(attribute(1, b"\0\0\0\0"), SIGNAL, attribute(13, b"\xc0"))], -61.0),
        ([], None),  # not connected
        ([reply()], None),  # a driver that doesn't know
        ([reply(SIGNAL), reply(SIGNAL)], None),  # a hotspot
        ([b""], None),
    ],
)
def test_a_signal_is_that_of_the_one_station(stations: list[bytes], expected: float | None) -> None:
    kernel = Kernel({3: stations})
    assert nl80211.family("nl80211", kernel) == 28
    assert nl80211.signal(28, 3, kernel) == expected


def test_a_kernel_without_wifi_has_no_such_family() -> None:
    assert nl80211.family("nl80212", Kernel({})) is None


def test_this_kernel_knows_its_own_family_and_none_that_is_made_up() -> None:
    assert nl80211.family("nlctrl") == nl80211.GENERIC
    assert nl80211.family("schoolpulse") is None


def test_all_answers_of_this_kernel_are_read_up_to_the_last() -> None:
    names = [
        attributes(each)[nl80211.FAMILY_NAME] for each in nl80211.ask(nl80211.GENERIC, nl80211.GET_FAMILY, b"", True)
    ]
    assert b"nlctrl\0" in names and len(set(names)) == len(names)


def test_what_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="netlink"):
        nl80211.ask(nl80211.GENERIC, 200, b"", False)


@given(st.binary(max_size=200))
def test_no_bytes_of_the_kernel_are_too_odd(data: bytes) -> None:
    attributes(data)
    list(messages(data))
    nl80211.signal(28, 3, lambda *_: [data])
    nl80211.family("nl80211", lambda *_: [data])


@given(st.dictionaries(st.integers(1, 300), st.binary(max_size=20), max_size=5))
def test_attributes_come_back_as_they_were_packed(packed: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, value) for kind, value in packed.items())) == packed


# The probe


def interface(folder: Path, name: str, index: int, kind: str = "phy80211") -> None:
    (folder / name / kind).mkdir(parents=True)
    (folder / name / "ifindex").write_text(f"{index}\n")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(proc, "LINUX", True)
    monkeypatch.setattr(wireless, "FOLDER", tmp_path / "net")
    monkeypatch.setattr(wireless, "TABLE", str(tmp_path / "wireless"))
    (tmp_path / "wireless").write_text(HEAD + line("wlan0", "60.", "-50.", "-256") + line("wlan9", "0", "0", "0"))
    return tmp_path / "net"


def test_each_connection_is_read_from_the_table_and_the_rest_by_netlink(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interface(net, "wlan0", 2, "wireless")
    interface(net, "wlan1", 3)
    interface(net, "wlan2", 4)  # unplugged since
    interface(net, "wlan9", 5)  # in the table, without a connection
    interface(net, "eth0", 6, "queues")
    kernel = Kernel({3: [reply(attribute(52, HOME), SIGNAL)]})
    monkeypatch.setattr(nl80211, "family", lambda name, ask=kernel, real=nl80211.family: real(name, ask))
    monkeypatch.setattr(nl80211, "signal", lambda n, i, ask=kernel, real=nl80211.signal: real(n, i, ask))
    assert list(wireless.Probe().read()) == [
        Reading("wireless", {"interface": "wlan0"}, {"link": 60.0, "level": -50.0}),
        Reading("wireless", {"interface": "wlan1"}, {"link": 49.0, "level": -61.0}),
    ]


def test_a_kernel_without_the_table_is_asked_by_netlink(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface(net, "wlan0", 2)
    Path(wireless.TABLE).unlink()
    monkeypatch.setattr(nl80211, "family", lambda _: 28)
    monkeypatch.setattr(nl80211, "signal", lambda *_: -110.0)
    assert [reading.fields for reading in wireless.Probe().read()] == [{"link": 0.0, "level": -110.0}]


def test_a_machine_without_wifi_reads_nothing_at_all(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface(net, "eth0", 6, "queues")
    monkeypatch.setattr(proc, "read", lambda _: pytest.fail("read"))
    monkeypatch.setattr(nl80211, "family", lambda _: pytest.fail("asked"))
    assert list(wireless.Probe().read()) == []


def test_other_systems_have_none_of_it(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface(net, "wlan0", 2)
    monkeypatch.setattr(proc, "LINUX", False)
    assert list(wireless.Probe().read()) == []
