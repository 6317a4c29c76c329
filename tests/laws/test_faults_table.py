"""The README's promise is the table that the faults make: every row is there, and none lost or doubled anything."""

from __future__ import annotations

import re

from faultlist import FAULTS
from running import ROOT

TABLE = re.findall(r"^    (\S.*?) {2,}(duckdb|victoriametrics|influxdb) +(.+)$", (ROOT / "README.md").read_text(), re.M)


def test_the_readme_shows_every_fault_on_every_store_it_can_befall() -> None:
    assert {(fault, store) for fault, store, _ in TABLE} == {
        (name, store) for name, fault in FAULTS.items() for store in fault.stores
    }


def test_nothing_in_it_was_lost_or_stored_twice_or_wrong() -> None:
    for fault, store, numbers in TABLE:
        sent, stored, lost, twice, wrong, _, counted, _ = (float(number) for number in numbers.split())
        assert (lost, twice, wrong) == (0, 0, 0) and sent == stored + counted, (fault, store)
