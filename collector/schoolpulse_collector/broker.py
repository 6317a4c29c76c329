"""What a centre does with its MQTT broker, besides connecting to it: a contract, kept by each file in ``brokers/``.

Whatever the broker, user name = client id = device id, and a device writes under its own id and reads what is for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schoolpulse_collector.roster import Sender


class Broker(Protocol):
    """A broker that lets in whom the registry knows."""

    def start(self) -> None:
        """Begin; return when devices can come in, or will once the server is there. Raises BrokerDown, OSError."""

    def changed(self, senders: Sequence[Sender], cut: Sequence[str]) -> None:
        """Take over what changed in the registry: ``senders`` as they are now.

        ``cut``: ids of devices that may not stay connected as they came in: no longer active, or with a new secret.
        Their connections have ended when this returns, or soon after, within a second. Raises BrokerDown: call again.
        """

    def stop(self) -> None:
        """End what ``start`` began."""


class BrokerDown(Exception):
    """The broker can't be told or asked now; the same again may help."""
