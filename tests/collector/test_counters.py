"""What the collector counts of itself, as a scrape of ``/metrics`` sees it."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from schoolpulse_collector.counters import Counters


def test_a_scrape_shows_what_was_counted() -> None:
    counters = Counters()
    counters.accepted.inc(3)
    counters.refused.labels("time").inc()
    text = generate_latest(counters.registry).decode()
    assert "schoolpulse_reports_accepted_total 3.0" in text
    assert 'schoolpulse_refused_total{reason="time"} 1.0' in text


@pytest.mark.parametrize(
    "name",
    [
        "schoolpulse_reports_accepted_total",
        "schoolpulse_reports_repeated_total",
        "schoolpulse_receipts_total",
        "schoolpulse_reports_stored_total",
        "schoolpulse_store_errors_total",
        "schoolpulse_spool_errors_total",
        "schoolpulse_report_lag_seconds_count",
    ],
)
def test_what_has_not_happened_yet_is_shown_as_zero(name: str) -> None:
    assert Counters().registry.get_sample_value(name) == 0.0


def test_two_collectors_in_one_process_count_apart() -> None:
    one, other = Counters(), Counters()
    one.stored.inc(5)
    assert one.registry.get_sample_value("schoolpulse_reports_stored_total") == 5
    assert other.registry.get_sample_value("schoolpulse_reports_stored_total") == 0


def test_a_watched_value_is_read_when_somebody_asks() -> None:
    counters, waiting = Counters(), [1.0]
    counters.watch("schoolpulse_spool_bytes", "Bytes that wait.", lambda: waiting[0])
    assert counters.registry.get_sample_value("schoolpulse_spool_bytes") == 1.0
    waiting[0] = 7.0
    assert counters.registry.get_sample_value("schoolpulse_spool_bytes") == 7.0


@pytest.mark.parametrize(("lag", "bucket"), [(0.05, "0.1"), (45, "60.0"), (2 * 86400, "259200.0"), (10**6, "+Inf")])
def test_a_lag_falls_into_its_bucket_and_no_smaller_one(lag: float, bucket: str) -> None:
    counters = Counters()
    counters.lag.observe(lag)
    (metric,) = counters.lag.collect()
    reached = [sample.labels["le"] for sample in metric.samples if sample.name.endswith("_bucket") and sample.value]
    assert reached[0] == bucket
