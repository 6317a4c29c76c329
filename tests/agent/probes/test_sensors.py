"""Temperatures, fans and batteries, on folders as Linux shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import hwmon
from schoolpulse_agent.hwmon import Sensors
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import battery, fans, temp


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


DISKS = {"hwmon2": "nvme1", "hwmon3": "nvme0"}  # as their numbers were at this boot
CHIPS = {
    "hwmon0/name": "acpitz",
    "hwmon0/temp1_input": "27800",
    "hwmon1/name": "coretemp",
    "hwmon1/temp1_input": "48000",
    "hwmon1/temp1_label": "Package id 0",
    "hwmon1/temp2_input": "46000",
    "hwmon1/temp2_label": "Core 0",
    "hwmon2/name": "nvme",
    "hwmon2/temp1_input": "38850",
    "hwmon2/temp1_label": "Composite",
    "hwmon3/name": "nvme",
    "hwmon3/temp1_input": "41850",
    "hwmon3/temp1_label": "Composite",
    "hwmon10/name": "nct6775",
    "hwmon10/temp1_input": "-128000",  # nothing is connected there
    "hwmon10/temp2_input": "0",
    "hwmon10/temp3_input": "soon",
    "hwmon10/fan1_input": "1180",
    "hwmon10/fan1_label": "CPU Fan",
    "hwmon10/fan2_input": "0",
    "hwmon10/fan3_input": "1350000",
}


def chips(folder: Path) -> Path:
    for chip, disk in DISKS.items():
        (folder / "devices" / disk).mkdir(parents=True)
        (folder / chip).mkdir()
        (folder / chip / "device").symlink_to(folder / "devices" / disk)
    return tree(folder, CHIPS)


def temperatures(folder: Path) -> dict[str, float]:
    probe = temp.Probe()
    probe._sensors = Sensors("temp", folder)
    return {reading.tags["sensor"]: reading.fields["temp"] for reading in probe.read()}


def test_each_believable_sensor_is_named_by_its_chip_and_label(tmp_path: Path) -> None:
    assert temperatures(chips(tmp_path)) == {
        "acpitz_temp1": 27.8,
        "coretemp_package_id_0": 48.0,
        "coretemp_core_0": 46.0,
        "nvme_nvme1_composite": 38.9,
        "nvme_nvme0_composite": 41.9,
    }


def test_a_board_without_chips_says_its_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = {"thermal_zone0/type": "cpu-thermal", "thermal_zone0/temp": "51234", "thermal_zone1/temp": "x"}
    monkeypatch.setattr(temp, "ZONES", tree(tmp_path / "zones", zones))
    assert temperatures(tmp_path / "none") == {"thermal_zone0_cpu_thermal": 51.2}


def test_labels_that_are_the_same_stay_apart(tmp_path: Path) -> None:
    files = {"hwmon0/name": "k10temp"}
    files |= {f"hwmon0/temp{n}_{what}": text for n in (1, 2) for what, text in (("input", "40000"), ("label", "Tctl"))}
    assert temperatures(tree(tmp_path, files)) == {"k10temp_tctl": 40.0, "k10temp_tctl_temp2": 40.0}


def test_a_card_that_sleeps_is_not_woken(tmp_path: Path) -> None:
    files = {"hwmon0/name": "amdgpu", "hwmon0/temp1_input": "40000", "hwmon0/device/power/runtime_status": "suspended"}
    assert temperatures(tree(tmp_path, files)) == {}


def test_a_chip_that_goes_away_and_one_that_comes_are_no_trouble(tmp_path: Path) -> None:
    now = [0.0]
    tree(tmp_path, {"hwmon0/name": "a", "hwmon0/temp1_input": "30000"})
    sensors = Sensors("temp", tmp_path, lambda: now[0])
    assert [said for _, said in sensors.read()] == [30000]
    (tmp_path / "hwmon0/temp1_input").unlink()
    tree(tmp_path, {"hwmon1/name": "b", "hwmon1/temp1_input": "50000"})
    assert sensors.read() == []
    now[0] = hwmon.LOOK
    assert [(sensor.chip, said) for sensor, said in sensors.read()] == [("b", 50000)]


@given(st.binary(max_size=80))
def test_a_name_is_plain_whatever_a_chip_says(said: bytes) -> None:
    name = hwmon.name_of(said)
    assert len(name) <= 48 and (not name or name.replace("_", "a").isalnum()) and name.isascii()


def test_a_fan_is_told_from_its_first_turn_on_also_when_it_stops(tmp_path: Path) -> None:
    probe = fans.Probe()
    probe._sensors = Sensors("fan", tree(tmp_path, CHIPS))
    tags = {"chip": "nct6775", "feature": "cpu_fan"}
    assert list(probe.read()) == [Reading("sensors", tags, {"fan_input": 1180.0})]
    (tmp_path / "hwmon10/fan1_input").write_text("0\n")
    assert list(probe.read()) == [Reading("sensors", tags, {"fan_input": 0.0})]


# Batteries

LAPTOP = """POWER_SUPPLY_NAME=BAT0
POWER_SUPPLY_TYPE=Battery
POWER_SUPPLY_STATUS=Discharging
POWER_SUPPLY_PRESENT=1
POWER_SUPPLY_CYCLE_COUNT=312
POWER_SUPPLY_ENERGY_FULL_DESIGN=50000000
POWER_SUPPLY_ENERGY_FULL=39250000
POWER_SUPPLY_ENERGY_NOW=20000000
POWER_SUPPLY_CAPACITY=51
POWER_SUPPLY_SERIAL_NUMBER=12345
"""


@pytest.mark.parametrize(
    ("uevent", "expected"),
    [
        (LAPTOP, {"percent": 51.0, "health_percent": 78.5, "cycles": 312.0, "plugged": 0.0}),
        (
            LAPTOP.replace("ENERGY", "CHARGE").replace("CAPACITY=51", "X=1").replace("Discharging", "Full"),
            {"percent": 51.0, "health_percent": 78.5, "cycles": 312.0, "plugged": 1.0},
        ),
        (LAPTOP.replace("=312", "=0").replace("Discharging", "Unknown"), {"percent": 51.0, "health_percent": 78.5}),
        (LAPTOP.replace("=312", "=-1").replace("=39250000", "=0"), {"percent": 51.0, "plugged": 0.0}),
        (LAPTOP + "POWER_SUPPLY_SCOPE=Device\n", {}),  # a mouse
        (LAPTOP.replace("PRESENT=1", "PRESENT=0"), {}),
        (LAPTOP.replace("Battery", "Mains"), {}),
        ("", {}),
    ],
)
def test_a_battery_says_how_full_and_how_worn_it_is(uevent: str, expected: dict[str, float]) -> None:
    assert battery.parse(uevent.encode()) == expected


def test_a_laptop_with_two_batteries_has_two_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"BAT1/uevent": LAPTOP, "BAT0/uevent": LAPTOP, "AC/uevent": "POWER_SUPPLY_TYPE=Mains", "hid-mouse/x": ""}
    monkeypatch.setattr(battery, "FOLDER", tree(tmp_path, files))
    assert [reading.tags["name"] for reading in battery.Probe().read()] == ["BAT0", "BAT1"]


names = st.sampled_from(
    ["TYPE", "STATUS", "CAPACITY", "ENERGY_NOW", "ENERGY_FULL", "CHARGE_FULL_DESIGN", "CYCLE_COUNT"]
)
lines = st.builds(lambda n, v: f"POWER_SUPPLY_{n}={v}\n", names, st.text(max_size=12) | st.integers().map(str))


@given(
    st.binary(max_size=200) | st.lists(lines).map(lambda all: ("POWER_SUPPLY_TYPE=Battery\n" + "".join(all)).encode())
)
def test_no_text_of_a_battery_is_too_odd(uevent: bytes) -> None:
    found = battery.parse(uevent)
    assert 0 <= found.get("percent", 0) <= 100
    assert {("battery", name) for name in found} <= set(battery.METRICS)
