"""The last value of every field of every device, in memory: answers every question about now."""

from __future__ import annotations

from collections.abc import Iterable

from schoolpulse_collector.record import Record
from schoolpulse_collector.store import Last

Groups = dict[str, tuple[int, dict[str, float]]]  # group -> (t in UTC milliseconds, fields)


class Latest:
    """Written by the intake, read from anywhere."""

    def __init__(self, rows: Iterable[Last] = ()) -> None:
        self._devices: dict[str, Groups] = {}
        for row in rows:
            self._put(row.device, row.group, row.t, row.fields)

    def update(self, record: Record) -> None:
        """Take over what is newer than what is here."""
        for group, fields in record.m.items():
            self._put(record.device, group, record.t, fields)

    def of(self, device: str) -> Groups:
        """The last values of a device; empty if it never reported."""
        return dict(self._devices.get(device, {}))

    def newest(self) -> int:
        """When the newest of all values was measured, UTC milliseconds; 0 if there is none."""
        return max((t for groups in self._devices.values() for t, _ in groups.values()), default=0)

    def _put(self, device: str, group: str, t: int, fields: dict[str, float]) -> None:
        groups = self._devices.setdefault(device, {})
        if group not in groups or groups[group][0] <= t:
            groups[group] = (t, fields)
