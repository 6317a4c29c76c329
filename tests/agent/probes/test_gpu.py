"""Graphics cards, of nvidia-smi's answers and of files as Linux shows them."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import proc, programs
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import gpu

MIB = 1_048_576.0
FULL = {
    "utilization_gpu": 12.0,
    "temperature_gpu": 46.0,
    "memory_total": 8192 * MIB,
    "memory_used": 700 * MIB,
    "fan_speed": 30.0,
    "power_draw": 18.42,
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0, 12, 46, 8192, 700, 30, 18.42\n", [("0", FULL)]),
        (  # a laptop's: no fan of its own
            "0, 3, 41, 2048, 5, [N/A], [Not Supported]\r\n1, [Unknown Error], 0, [N/A], [N/A], [N/A], [N/A]\r\n",
            [
                (
                    "0",
                    {
                        "utilization_gpu": 3.0,
                        "temperature_gpu": 41.0,
                        "memory_total": 2048 * MIB,
                        "memory_used": 5 * MIB,
                    },
                ),
                ("1", {"temperature_gpu": 0.0}),
            ],
        ),
        ("0, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\n", []),
        ("No devices were found\n", []),
        ("Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.\n", []),
        ("0, 12, 46\n", []),
        ("", []),
    ],
)
def test_what_nvidia_smi_says_is_one_reading_a_card(said: str, expected: list[tuple[str, dict[str, float]]]) -> None:
    assert list(gpu.parse(said.encode())) == expected


@given(
    st.binary(max_size=120)
    | st.lists(st.text(max_size=9), min_size=6, max_size=6).map(lambda w: ",".join(["0", *w]).encode())
)
def test_no_answer_is_too_odd(said: bytes) -> None:
    for index, fields in gpu.parse(said):
        assert index.isdecimal() and fields
        assert all(isfinite(value) and value >= 0 for value in fields.values())


class Machine:
    """Folders as Linux shows them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.drm = folder, folder / "drm"

    def card(self, name: str, slot: str, driver: str, power: str = "active", **files: str) -> None:
        device, drivers = self.folder / "pci" / slot, self.folder / "drivers" / driver
        for path in (device / "power", drivers, self.drm / name, self.drm / f"{name}-HDMI-A-1"):
            path.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(drivers)
        (device / "power/runtime_status").write_text(power + "\n")
        (self.drm / name / "device").symlink_to(device)
        for file, text in files.items():
            place = self.drm / name if file.startswith("gt_") else device
            (place / file).write_text(text + "\n")

    def nvidia(self, power: str = "active") -> None:
        """A card with NVIDIA's own driver, and its program."""
        (self.folder / "nvidia/0000:01:00.0").mkdir(parents=True)
        (self.folder / "nvidia-smi").touch()
        self.card("card5", "0000:01:00.0", "nvidia", power)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(proc, "LINUX", True)
    for name, path in (("DRM", "drm"), ("NVIDIA", "nvidia"), ("PCI", "pci")):
        monkeypatch.setattr(gpu, name, tmp_path / path)
    monkeypatch.setattr(gpu, "NVIDIA_SMI", str(tmp_path / "nvidia-smi"))
    monkeypatch.setattr(programs, "run", lambda argv, seconds: pytest.fail("a program was run"))
    return Machine(tmp_path)


AMD = {"gpu_busy_percent": "7", "mem_info_vram_total": "536870912", "mem_info_vram_used": "41943040"}
AMD_FIELDS = {"utilization_gpu": 7.0, "memory_total": 536870912.0, "memory_used": 41943040.0}


def test_cards_are_numbered_by_their_slots_for_each_driver(machine: Machine) -> None:
    machine.card("card0", "0000:0a:00.0", "amdgpu", **{**AMD, "gpu_busy_percent": "99"})
    machine.card("card1", "0000:05:00.0", "amdgpu", **AMD)
    machine.card("card2", "0000:00:02.0", "i915", gt_act_freq_mhz="1150")
    machine.card("card3", "0000:02:00.0", "ast")  # a server's: says nothing
    assert list(gpu.Probe().read()) == [
        Reading("gpu", {"driver": "i915", "index": "0"}, {"clocks_current_graphics": 1150.0}),
        Reading("gpu", {"driver": "amdgpu", "index": "0"}, AMD_FIELDS),
        Reading("gpu", {"driver": "amdgpu", "index": "1"}, {**AMD_FIELDS, "utilization_gpu": 99.0}),
    ]


def test_a_card_that_sleeps_is_not_woken(machine: Machine) -> None:
    machine.card("card0", "0000:05:00.0", "amdgpu", power="suspended", **AMD)
    machine.nvidia(power="suspended")
    probe = gpu.Probe()
    assert list(probe.read()) == []
    (machine.folder / "pci/0000:05:00.0/power/runtime_status").write_text("active\n")
    assert [reading.fields for reading in probe.read()] == [AMD_FIELDS]


def test_a_card_that_goes_away_or_says_no_number_is_no_trouble(machine: Machine) -> None:
    machine.card("card0", "0000:05:00.0", "amdgpu", **AMD)
    probe = gpu.Probe()
    assert len(list(probe.read())) == 1
    for name in AMD:
        (machine.folder / "pci/0000:05:00.0" / name).write_text("busy\n")
    assert list(probe.read()) == []
    (machine.drm / "card0/device").unlink()
    assert list(probe.read()) == []


def test_nvidias_program_is_asked_where_its_driver_has_a_card(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.nvidia()
    asked = []

    def run(argv: list[str], seconds: float) -> bytes:
        asked.append((argv, seconds))
        return b"0, 12, 46, 8192, 700, 30, 18.42\n"

    monkeypatch.setattr(programs, "run", run)
    assert list(gpu.Probe().read()) == [Reading("gpu", {"driver": "nvidia", "index": "0"}, FULL)]
    ((argv, seconds),) = asked
    assert argv[0] == gpu.NVIDIA_SMI and seconds < gpu.Probe.patience
    assert argv[1:] == [
        "--query-gpu=index,utilization.gpu,temperature.gpu,memory.total,memory.used,fan.speed,power.draw",
        "--format=csv,noheader,nounits",
    ]


def test_a_program_without_a_driver_and_a_driver_without_one_are_not_run(machine: Machine) -> None:
    machine.nvidia()
    (machine.folder / "nvidia-smi").unlink()
    assert list(gpu.Probe().read()) == []
    (machine.folder / "nvidia-smi").touch()
    (machine.folder / "nvidia/0000:01:00.0").rmdir()
    assert list(gpu.Probe().read()) == []


def test_on_windows_the_program_is_the_systems_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WINDOWS", True)
    monkeypatch.setenv("SYSTEMROOT", r"D:\Windows")
    assert gpu.program() == r"D:\Windows\System32\nvidia-smi.exe"
