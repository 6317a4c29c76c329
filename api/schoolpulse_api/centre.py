"""What routes and pages read: the collector's parts, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schoolpulse_api.feed import Feed
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.store import Store


@dataclass(frozen=True)
class Centre:
    """A running centre. ``healthy``: the names of the parts and whether each works."""

    registry: Registry
    store: Store
    latest: Latest
    presence: Presence
    counters: Counters
    feed: Feed
    healthy: Callable[[], dict[str, bool]]
    time_zone: str = "Asia/Ho_Chi_Minh"
