"""What a real machine's agent does beside reporting, each when it is time: configuration, inventory, identity."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Callable

from schoolpulse_agent import __version__
from schoolpulse_agent.configuration import Configuration
from schoolpulse_agent.cycle import Cycle
from schoolpulse_agent.footprint import Footprint
from schoolpulse_agent.link import About, Link
from schoolpulse_agent.parts import Inventory
from schoolpulse_agent.ranges import Ranges
from schoolpulse_agent.renewal import Renewal
from schoolpulse_agent.wire import MAX_TEXT

if TYPE_CHECKING:
    from schoolpulse_agent.update import Update  # loaded only where updates are on

log = logging.getLogger(__name__)

STOCKTAKING = (5 * 3600.0, 7 * 3600.0)  # seconds between two looks at what the machine is made of
NOTHING = Inventory("", {})


class Stock:
    """The machine's inventory, read in a thread of its own: on Windows that takes seconds."""

    def __init__(self, read: Callable[[], Inventory], clock: Callable[[], float] = time.monotonic) -> None:
        self.inventory = NOTHING
        self._read, self._clock = read, clock
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def work(self) -> None:
        """Begin to read if it is time."""
        now = self._clock()
        if now < self._due or (self._thread and self._thread.is_alive()):
            return
        self._due = now + random.uniform(*STOCKTAKING)
        self._thread = threading.Thread(target=self._take, name="inventory", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as why:  # this process has all the threads that it may have
            log.warning("the inventory can't be read: %s", why)

    def _take(self) -> None:
        try:
            self.inventory = self._read()
        except Exception as why:
            log.warning("the inventory can't be read: %s: %s", type(why).__name__, why)


class Care:
    """Called from the agent's loop; nothing in it stops the reporting."""

    def __init__(
        self,
        link: Link,
        cycle: Cycle,
        configuration: Configuration,
        stock: Stock,
        renewal: Renewal | None = None,
        update: Update | None = None,
        footprint: Footprint | None = None,
    ) -> None:
        """``update``: None where the machine's own settings allow none; ``footprint``: of a process of its own."""
        self.footprint = footprint
        self._link, self._cycle, self._configuration = link, cycle, configuration
        self._stock, self._renewal, self._update = stock, renewal, update
        self._measured = 0  # reports of this start when the configuration in force began
        self._tell()

    @property
    def interval(self) -> float:
        """Seconds between two reports as it is now."""
        return self._configuration.settings.reports.interval * (self.footprint.stretch if self.footprint else 1.0)

    @property
    def replaced(self) -> bool:
        """Whether the agent is to end and a new one to be built."""
        return self._renewal is not None and self._renewal.replaced

    @property
    def restart(self) -> bool:
        """Whether the process is to end and to be started again: as another version, or because it has grown.

        Not while a probe hangs: a thread that waits for a dying disk would keep it, and its lock, from ending. To leave
        a version can't wait for that: the version itself may be what hangs.
        """
        update, grown = self._update, self.footprint is not None and self.footprint.too_large
        if update is not None and update.is_leaving:
            return True
        return (grown or (update is not None and update.restart)) and not self._cycle.is_held_up

    def work(self) -> None:
        """Do what is due."""
        link, configuration = self._link, self._configuration
        self._cycle.duties = link.duties
        wanted, link.wanted = link.wanted, None
        stretch = self.footprint.stretch if self.footprint else 1.0
        if (wanted and configuration.take(wanted)) or configuration.work(link.connected, stretch):
            self._follow()
        if configuration.is_on_trial and self._is_receipted(self._measured + 1):
            configuration.confirmed()
        self._stock.work()
        if self._renewal:
            self._renewal.work()
        if self._update and not configuration.is_on_trial:
            self._update.work(configuration.update, self._is_receipted(1), self.interval)
        self._tell()

    def failed(self, why: str) -> None:
        """The agent's loop has met an error: a configuration on trial is what brought it."""
        self._configuration.fail(why)
        if self._update:
            self._update.failed(why)
        self._follow()

    def ended(self) -> None:
        """The agent ends because it was asked to: no start of what is on trial has failed."""
        self._configuration.ended()
        if self._update:
            self._update.ended()

    def _tell(self) -> None:
        refused = self._configuration.refused or self._refused_version()
        about = About(__version__, self._configuration.version, refused)
        self._link.tell(about, self._stock.inventory, self.interval)

    def _refused_version(self) -> str:
        """Which version of the agent does not run here, and why, as a hello may have it: short and printable."""
        offer = self._configuration.update
        if self._update:
            said = self._update.refused
        else:
            said = f"{offer.get('version')} updates are off here" if offer and "withdrawn" not in offer else ""
        plain = "".join(letter if letter.isprintable() else " " for letter in said)
        return f"agent {plain}"[:MAX_TEXT] if plain else ""

    def _is_receipted(self, seq: int) -> bool:
        outbox = self._link.outbox
        return outbox.newest >= seq and seq not in outbox.held().get(outbox.epoch, Ranges())

    def _follow(self) -> None:
        settings = self._configuration.settings
        self._measured = self._link.outbox.newest
        self._cycle.change(settings.probes)
        self._link.window.replay_spread = settings.reports.replay_spread
        if self.footprint:
            self.footprint.limits = settings.limits
