"""The steps of ``schoolpulse-agent check``: what they are and what they know of each other."""

from __future__ import annotations

from typing import Callable, NamedTuple

from schoolpulse_agent.link import Link
from schoolpulse_agent.parts import Inventory
from schoolpulse_agent.settings import Settings

PATIENCE = 10.0  # seconds for a name, a broker's answer, a receipt
Found = tuple[str, str]  # English, Vietnamese


class Look:
    """What the steps know of each other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.link: Link | None = None
        self.inventory = Inventory("", {})


class Step(NamedTuple):
    """One line of the list; ``needs``: names of steps without which it can't be tried."""

    name: str
    vi: str
    do: Callable[[Look], Found]
    needs: tuple[str, ...] = ()
