"""How well reports arrive: per school and minute how many, how late, how many lost; measurement ``delivery``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schoolpulse_agent.probe import Metric
from schoolpulse_collector.received import Received
from schoolpulse_collector.record import Record
from schoolpulse_collector.roster import Roster

SENDER = "collector"  # the device that these samples are of
LATE = 60_000  # milliseconds from measuring to arrival past which a report is late
METRICS = {
    ("delivery", "reports"): Metric("1", "Reports that arrived in the minute", "Báo cáo nhận được trong phút"),
    ("delivery", "late"): Metric("1", "Of them more than a minute late", "Trong đó gửi bù, trễ hơn một phút"),
    ("delivery", "lag_mean"): Metric("s", "Mean time to arrive", "Thời gian đến trung bình"),
    ("delivery", "lag_max"): Metric("s", "Longest time to arrive", "Thời gian đến lâu nhất"),
    ("delivery", "lost"): Metric("1", "Reports known to be lost, in all", "Tổng số báo cáo đã mất"),
}


def is_report(record: Record) -> bool:
    """Whether a device measured this: not our own sample, nor the note of a refused report."""
    return bool(record.m) and record.device != SENDER


@dataclass
class Minute:
    """One school's reports of one minute; lags in milliseconds."""

    reports: int = 0
    late: int = 0
    lag_sum: int = 0
    lag_max: int = 0


class Delivery(Collector):
    """Counts for the intake's thread; for Prometheus it gives loss per school and per device that lost something."""

    def __init__(self, received: Received, roster: Roster, clock: Callable[[], float] = time.time) -> None:
        self._received, self._roster, self._clock = received, roster, clock
        self._epoch, self._seq = secrets.randbits(32), 0
        self._minute = int(clock() // 60)
        self._schools: dict[str, Minute] = {}

    def accepted(self, record: Record) -> None:
        """Count a report that arrived for the first time."""
        minute, lag = self._schools.setdefault(record.school, Minute()), max(0, record.lag)
        minute.reports += 1
        minute.late += lag > LATE
        minute.lag_sum += lag
        minute.lag_max = max(minute.lag_max, lag)

    def lost(self) -> dict[str, dict[str, int]]:
        """Lost reports by school and device, of those that lost any; a device that is no more counts under ``""``."""
        found: dict[str, dict[str, int]] = {}
        for device, lost in self._received.losses().items():
            sender = self._roster.get(device)
            found.setdefault(sender.school if sender else "", {})[device] = lost
        return found

    def records(self) -> Iterator[Record]:
        """When a minute has ended: a record for each school that reported in it or lost something, else nothing."""
        now = self._clock()
        if int(now // 60) == self._minute:
            return
        t, self._minute = (self._minute + 1) * 60_000, int(now // 60)
        schools, self._schools = self._schools, {}
        lost = self.lost()
        for school in sorted(schools.keys() | lost.keys()):
            minute = schools.get(school, Minute())
            fields = {
                "reports": float(minute.reports),
                "late": float(minute.late),
                "lag_mean": round(minute.lag_sum / max(1, minute.reports) / 1000, 3),
                "lag_max": minute.lag_max / 1000,
                "lost": float(sum(lost.get(school, {}).values())),
            }
            self._seq += 1
            groups = {"delivery": fields}
            yield Record(SENDER, self._epoch, self._seq, t, 0, school, "", SENDER, groups, self._seq)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For ``/metrics``."""
        schools = GaugeMetricFamily("schoolpulse_reports_lost", "Reports that will never come.", labels=["school"])
        devices = GaugeMetricFamily(
            "schoolpulse_device_reports_lost", "Of devices that lost any.", labels=["school", "device"]
        )
        for school, lost in self.lost().items():
            schools.add_metric([school], sum(lost.values()))
            for device, count in lost.items():
                devices.add_metric([school, device], count)
        yield schools
        yield devices
