"""What the collector counts of itself, for ``/metrics``: in, out, refused and why, waiting, and how late."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LAGS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600, 86400, 3 * 86400)  # seconds


class Counters:
    """All counters of one collector, in a registry of their own, so that a process may hold several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.messages = Counter("schoolpulse_messages", "MQTT messages taken in, by kind.", ["kind"], registry=own)
        self.accepted = Counter("schoolpulse_reports_accepted", "Reports made durable in the spool.", registry=own)
        self.repeated = Counter(
            "schoolpulse_reports_repeated", "Reports that had arrived before; receipted again.", registry=own
        )
        self.refused = Counter(
            "schoolpulse_refused",
            "Reports or whole messages refused, by reason; kept in the dead-letter file.",
            ["reason"],
            registry=own,
        )
        self.receipts = Counter("schoolpulse_receipts", "Receipts sent to devices.", registry=own)
        self.inventories = Counter("schoolpulse_inventories", "Inventories made durable.", registry=own)
        self.inventories_dropped = Counter(
            "schoolpulse_inventories_dropped", "Inventories that found no room to wait; they come again.", registry=own
        )
        self.configurations = Counter("schoolpulse_configurations", "Configurations sent to devices.", registry=own)
        self.stored = Counter(
            "schoolpulse_reports_stored", "Reports written to the store and durable there.", registry=own
        )
        self.store_errors = Counter(
            "schoolpulse_store_errors", "Writes that the store could not take; they are repeated.", registry=own
        )
        self.store_replays = Counter(
            "schoolpulse_store_replays",
            "Restarts of the store's server after which what had not settled was written again.",
            registry=own,
        )
        self.spool_errors = Counter(
            "schoolpulse_spool_errors", "Writes that the spool could not take; they are repeated.", registry=own
        )
        self.broker_refused = Counter(
            "schoolpulse_broker_refused",
            "What the embedded broker denied: login, publish or subscribe.",
            ["what"],
            registry=own,
        )
        self.lag = Histogram(
            "schoolpulse_report_lag_seconds",
            "From the measurement on the device to its arrival.",
            buckets=LAGS,
            registry=own,
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody asks."""
        Gauge(name, text, registry=self.registry).set_function(read)
