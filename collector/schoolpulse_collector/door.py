"""Who may come in at the embedded broker, and who may write and read what."""

from __future__ import annotations

import logging
import re
import secrets

from schoolpulse_collector.counters import Counters
from schoolpulse_collector.roster import Roster
from schoolpulse_collector.subscriber import CLIENT_ID

log = logging.getLogger(__name__)

_DEVICE_MAY_WRITE = re.compile(r"sp/v1/up/[^/+#]+/(?P<device>[^/+#]+)/[^+#]+").fullmatch
_DEVICE_MAY_READ = re.compile(r"sp/v1/down/(?P<device>[^/+#]+)/.+").fullmatch


class Door:
    """The same rules as mosquitto's, ``brokers/mosquitto.acl``."""

    def __init__(self, roster: Roster, counters: Counters) -> None:
        self.collector_password = secrets.token_urlsafe(32)  # for this process's own collector, new at each start
        self._roster, self._counters = roster, counters
        self._came_with: dict[str, str] = {}  # device -> the hash its secret matched when it came in

    def admits(self, client_id: str, name: str, password: str) -> bool:
        """User name and client id are the device's id, or the collector's."""
        if client_id == name == CLIENT_ID:
            good = secrets.compare_digest(password.encode(), self.collector_password.encode())
        else:
            good = client_id == name and self._roster.admits(name, password)
            sender = self._roster.get(name) if good else None
            if sender:
                self._came_with[name] = sender.secret_hash
        if not good:
            self._counters.broker_refused.labels("login").inc()
            log.warning("login refused: user %.64r, client id %.64r", name, client_id)
        return good

    def keeps(self, name: str) -> bool:
        """Whether who came in so may stay: a device that was not revoked or given a new secret since."""
        sender = self._roster.get(name)
        return name == CLIENT_ID or (sender is not None and sender.secret_hash == self._came_with.get(name))

    def look_again(self) -> None:
        """Know the registry as it is now, not as it was up to a second ago."""
        self._roster.follow()

    def allows(self, name: str, action: str, topic: str) -> bool:
        """A device writes under its own id, in any school, and reads what is for it; the collector the opposite."""
        if name == CLIENT_ID:
            good = topic.startswith("sp/v1/down/" if action == "publish" else "sp/v1/up/")
        else:
            found = (_DEVICE_MAY_WRITE if action == "publish" else _DEVICE_MAY_READ)(topic)
            good = found is not None and found["device"] == name and self.keeps(name)
        if not good:
            self._counters.broker_refused.labels(action).inc()
            log.warning("%s refused: device %.64r, topic %.120r", action, name, topic)
        return good
