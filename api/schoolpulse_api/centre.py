"""A running centre's parts, in one place. Routes and pages don't get it: they get a `View` of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schoolpulse_api.feed import Feed
from schoolpulse_api.settings import Settings
from schoolpulse_collector.authority import Authority
from schoolpulse_collector.counters import Counters
from schoolpulse_collector.fleet import Fleet
from schoolpulse_collector.latest import Latest
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.rolling import Rolling
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.steering import Steering
from schoolpulse_collector.store import Store


@dataclass(frozen=True)
class Centre:
    """A running centre.

    ``healthy``: the names of the parts and whether each works. ``followed``: look at the registry now, it has changed.
    ``authority``: the CA, None before `schoolpulse init`.
    """

    registry: Registry
    roster: Roster
    store: Store
    latest: Latest
    presence: Presence
    counters: Counters
    feed: Feed
    settings: Settings
    healthy: Callable[[], dict[str, bool]]
    followed: Callable[[], None]
    fleet: Fleet
    steering: Steering
    rolling: Rolling
    authority: Authority | None = None
