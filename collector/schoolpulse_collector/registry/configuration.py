"""What the centre wants of agents: settings of places, those of a narrower place over those of a broader one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_agent import remote
from schoolpulse_agent.settings import Settings, SettingsError, parse
from schoolpulse_collector.registry.change import Change
from schoolpulse_collector.registry.errors import Refused
from schoolpulse_collector.registry.model import Configuration, Device, Room, School, Unit

TABLES = {"unit": Unit, "school": School, "room": Room, "device": Device}
SCOPES = ("centre", *TABLES)  # from broad to narrow
MOST_BYTES = 1800  # of one place's settings: those of all places above a device fit into one message


class Place(NamedTuple):
    """Whose agents: of the centre (no key), a unit, school, room or device; ``kind``: only this kind of device."""

    scope: str
    key: str = ""
    kind: str = ""


def judge(settings: Mapping[str, Any]) -> str:
    """These settings as JSON. Raises Refused, which names the key, for what no agent would follow."""
    try:
        plain = json.dumps(settings, ensure_ascii=False, sort_keys=True, allow_nan=False)
        if len(plain.encode()) > MOST_BYTES:
            raise Refused(f"these settings take more than {MOST_BYTES} bytes: name only what is to differ")
        parse(
            dict(settings), "the centre's configuration"
        )  # it names the nearest known key; `merged` overlooks a probe
        remote.merged(Settings(), dict(settings))  # of another version of the agent
    except (SettingsError, ValueError, OverflowError, RecursionError) as why:
        raise Refused(str(why)) from None
    return plain


def put(change: Change, place: Place, settings: Mapping[str, Any]) -> Configuration:
    """Want this of a place's agents, instead of what was wanted there. Raises Refused: no such place, bad settings."""
    school, plain = _school(change.session, place), judge(settings)
    row = change.session.get(Configuration, place)
    before = json.loads(row.settings) if row else None
    if row is None:
        row = Configuration(**place._asdict())
        change.session.add(row)
    if before != settings:
        change.note("configuration.put", _subject(place), school, before=before, after=settings)
        row.settings, row.changed, row.changed_by = plain, change.now, change.by
    change.session.flush()
    return row


def clear(change: Change, place: Place) -> bool:
    """Want nothing more of this place than of the broader ones; False: nothing was."""
    row = change.session.get(Configuration, place)
    if row is not None:
        school = _school(change.session, place)
        change.note("configuration.clear", _subject(place), school, before=json.loads(row.settings))
        change.session.delete(row)
    return row is not None


def everything(session: Session) -> list[Configuration]:
    """All that is wanted, from broad to narrow."""
    return sorted(session.scalars(select(Configuration)), key=lambda row: (SCOPES.index(row.scope), row.key, row.kind))


def of_schools(session: Session, schools: Collection[str] | None) -> list[Configuration]:
    """What is wanted of these schools, their rooms and devices, and of the whole centre; None: all."""
    return [
        row
        for row in everything(session)
        if schools is None or row.scope == "centre" or _place_school(session, row.scope, row.key) in schools
    ]


def folded(broad_to_narrow: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several settings as one, each over those before it."""
    found: dict[str, Any] = {}
    for each in broad_to_narrow:
        for name, value in each.items():
            below = found.get(name)
            found[name] = folded([below, value]) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


def _school(session: Session, place: Place) -> str:
    """Whose people may read of a change. Raises Refused if there is no such place."""
    if place.scope not in SCOPES or (place.scope == "centre") != (place.key == ""):
        raise Refused(f"there is no {place.scope!r} {place.key!r}: a configuration is for {', '.join(SCOPES)}")
    if place.key and session.get(TABLES[place.scope], place.key) is None:
        raise Refused(f"there is no {place.scope} {place.key!r}")
    return _place_school(session, place.scope, place.key)


def _place_school(session: Session, scope: str, key: str) -> str:
    row: Any = session.get(TABLES[scope], key) if scope in ("room", "device") else None
    return key if scope == "school" else row.school if row else ""


def _subject(place: Place) -> str:
    return f"{place.scope}:{place.key}" + (f" {place.kind}" if place.kind else "")
