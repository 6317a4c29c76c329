"""What the centre may change of an agent: intervals, pace, probes. Never code, an address or a name to watch.

``merged`` is the one judge, here and at the centre, where a configuration is refused before anybody gets it.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from schoolpulse_agent import probe, settings
from schoolpulse_agent.settings import Settings, SettingsError
from schoolpulse_agent.wire import VERSION, BadReport, dump, is_hash, load

MAX_BYTES = 32 * 1024
MAY_CHANGE = {"reports": ("interval", "replay_spread"), "limits": ("cpu_percent",)}  # beside ``probe``


class Config(NamedTuple):
    """What the centre wants of one sender. ``version`` names the whole; empty settings: its own file alone."""

    version: str  # 16 lower hex digits
    settings: dict[str, Any]  # sections and keys as in agent.toml
    update: dict[str, Any] | None = None  # the version of the agent that it should be, see ``update.py``


def encode(config: Config) -> bytes:
    """The payload of ``sp/v1/down/<device>/config``."""
    return dump({"v": VERSION, **config._asdict()})


def decode(body: bytes) -> Config:
    """Read a configuration; raise BadReport. What its settings mean is judged by ``merged``."""
    if len(body) > MAX_BYTES:
        raise BadReport("too_large")
    message = load(body)
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise BadReport("version")
    version, wanted, update = message.get("version"), message.get("settings"), message.get("update")
    if not isinstance(version, str) or not is_hash(version) or not isinstance(wanted, dict):
        raise BadReport("shape", "version or settings")
    if update is not None and not isinstance(update, dict):
        raise BadReport("shape", "update")
    return Config(version, wanted, update)


def merged(own: Settings, wanted: dict[str, Any]) -> Settings:
    """An agent's own settings with what the centre wants over them. Raises SettingsError for what it may not want."""
    where = "the centre's configuration"
    document = copy.deepcopy(own.document)
    for section, given in wanted.items():
        if section == "probe" and isinstance(given, dict):
            _probes(document.setdefault("probe", {}), given, where)
            continue
        if section not in MAY_CHANGE or not isinstance(given, dict):
            known = ", ".join([*MAY_CHANGE, "probe"])
            raise SettingsError(
                f"{where}: {section!r} is not for the centre to change: it may change {known}",
                f"{where}: trung tâm không được đổi {section!r}: chỉ được đổi {known}",
            )
        for name in given:
            if name not in MAY_CHANGE[section]:
                raise _own_alone(where, f"{section}.{name}")
        document.setdefault(section, {}).update(given)
    found = settings.parse(document, where)
    found.path, found.document = own.path, own.document
    return found


def _probes(document: dict[str, Any], given: dict[str, Any], where: str) -> None:
    for name, wanted in given.items():
        if name not in probe.names():
            continue  # of a newer or older agent: that it does not know it is no reason to refuse the rest
        if not isinstance(wanted, dict):
            raise SettingsError(f"{where}: probe.{name} must be a table", f"{where}: probe.{name} phải là một bảng")
        for key in wanted:
            if key in getattr(probe.probe_class(name), "local", ()):
                raise _own_alone(where, f"probe.{name}.{key}")
        document.setdefault(name, {}).update(wanted)


def _own_alone(where: str, setting: str) -> SettingsError:
    return SettingsError(
        f"{where}: {setting} is for the machine's own file alone",
        f"{where}: {setting} chỉ được đặt trong tệp của chính máy này",
    )
