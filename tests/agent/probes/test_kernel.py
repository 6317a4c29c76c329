"""What the kernel says of programs that wait, and of memory that was short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Reading
from schoolpulse_agent.probes import pressure, vmstat

PSI = b"some avg10=1.00 avg60=2.50 avg300=0.30 total=99\nfull avg10=0.00 avg60=0.75 avg300=0.10 total=9\n"


def test_pressure_is_the_last_minutes_share_by_resource_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "read", lambda _: PSI)
    found = [(reading.tags["resource"], reading.tags["type"], reading.fields) for reading in pressure.Probe().read()]
    some, full = {"avg60": 2.5}, {"avg60": 0.75}
    expected = [("io", "some", some), ("io", "full", full), ("memory", "some", some), ("memory", "full", full)]
    assert found == [("cpu", "some", some), *expected]


def test_a_kernel_that_counts_no_pressure_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(path: str) -> bytes:
        asked.append(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(proc, "read", read)
    probe = pressure.Probe()
    assert [*probe.read(), *probe.read()] == []
    assert len(asked) == 1


def test_programs_ended_for_want_of_memory_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "read", lambda _: b"pgmajfault 812\noom_kill 3\npgfault 5\n")
    fields = {"oom_kill": 3.0, "pgmajfault": 812.0}
    assert list(vmstat.Probe().read()) == [Reading("kernel_vmstat", {}, fields)]


def test_an_old_kernel_that_does_not_count_them_says_the_rest() -> None:
    assert vmstat.parse(b"pgmajfault 812\n") == {"pgmajfault": 812.0}


@pytest.mark.parametrize("probe", [pressure.Probe, vmstat.Probe])
def test_other_systems_have_none_of_it(probe: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "LINUX", False)
    assert list(probe().read()) == []


@given(st.binary(max_size=200) | st.text("some avg60=1.\n", max_size=100).map(str.encode))
def test_any_text_is_read_without_an_error(text: bytes) -> None:
    assert all(value >= 0 for value in pressure.parse(text).values())
    vmstat.parse(text)
