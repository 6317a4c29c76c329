"""The end of support: dates by version, release and edition; what is not known for sure is unknown."""

from __future__ import annotations

from datetime import date

import pytest

from schoolpulse_collector import support


def windows(name: str, version: str, release: str = "") -> date | None:
    found = support.of({"id": "windows", "version": version, "release": release, "name": name})
    return found.ends if found else None


@pytest.mark.parametrize(
    ("name", "version", "release", "ends"),
    [
        ("Windows 10 Pro", "10", "22H2", date(2025, 10, 14)),
        ("Windows 10 Pro Education", "10", "21H2", date(2023, 6, 13)),
        ("Windows 10 Education", "10", "21H2", date(2024, 6, 11)),
        ("Windows 11 Home Single Language", "11", "24H2", date(2026, 10, 13)),
        ("Windows 7 Professional", "7", "", date(2020, 1, 14)),
        ("Windows 8.1", "8.1", "", date(2023, 1, 10)),
        ("Windows Server 2019 Standard", "server-2019", "1809", date(2029, 1, 9)),
        ("Windows 10 Enterprise LTSC 2021", "10", "21H2", None),
        ("Windows 10 IoT Enterprise", "10", "21H2", None),
        ("Windows 11 SE", "11", "22H2", None),
        ("Windows 11 Pro", "11", "99H9", None),
        ("", "10", "22H2", None),
    ],
)
def test_windows_ends_by_release_and_edition(name: str, version: str, release: str, ends: date | None) -> None:
    assert windows(name, version, release) == ends


def test_microsoft_ends_support_on_tuesdays_and_every_row_has_a_source() -> None:
    for (system, *_), (ends, source) in support._table().items():
        assert source.startswith("https://")
        assert system != "windows" or ends.weekday() == 1, ends


def test_the_last_day_is_still_supported_and_an_odd_inventory_is_unknown() -> None:
    debian = {"id": "debian", "version": "12"}
    found = [support.of(debian, day) for day in (date(2028, 6, 30), date(2028, 7, 1))]
    assert [each and each.ended for each in found] == [False, True]
    assert support.of({}) is None and support.of({"id": 3, "version": 1.5}) is None
    assert support.of({"id": "macos", "version": "15.1"}) is None
