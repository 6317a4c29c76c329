"""Keeps modules that are imported, but hardly ever used by an agent that reports, out of memory."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

# Who imports it, and what it costs (RSS on Python 3.11). importlib's own LazyLoader loads at the second import.
RARELY_USED = (
    "urllib.request",  # paho, for proxies: 2.0 MB with http.client and email
    "inspect",  # dataclasses, for classes without a docstring: 0.75 MB
    "traceback",  # logging, for exceptions: 0.4 MB
    "ipaddress",  # urllib.parse, for addresses in brackets: 0.3 MB
    "argparse",  # the command line, which `run` of a service does without: 0.4 MB
    "uuid",  # paho, for client ids of its own: 0.1 MB
    # Ours, 0.5 MB: what only the elected machine of a room needs, one with printers or a desktop, or a renewal.
    *(f"schoolpulse_agent.{name}" for name in ("icmp", "dnsquery", "plainhttp", "ipp", "login1", "enroll")),
)


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever looks through all modules wants nothing of this one
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def load_later(names: tuple[str, ...] = RARELY_USED) -> None:
    """Let these modules be loaded by their first use. Call it before anything that imports them."""
    for name in names:
        if name not in sys.modules:
            parent, _, child = name.rpartition(".")
            sys.modules[name] = module = _Later(name)
            if parent:
                setattr(importlib.import_module(parent), child, module)
