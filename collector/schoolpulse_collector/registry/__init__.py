"""The registry: which schools, rooms and devices there are, and who may do what. SQLite, or PostgreSQL by URL.

Reading: ``with registry.read() as session``. Changing: ``with registry.change(by) as change``, one transaction that
takes what it did into the audit. What can be asked and changed stands in this folder, a file a subject, as functions of
a session or a change.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import audit, devices
from schoolpulse_collector.registry.model import Device, Room, School

SYSTEM = "system"  # the actor of what no person or program asked for


@dataclass
class Change:
    """One transaction. Whoever changes a row says so by ``note``; secrets never stand in a note."""

    session: Session
    by: str  # person:login, token:label, device:id or system
    now: int
    notes: list[audit.Note] = field(default_factory=list)

    def note(self, action: str, subject: str, school: str = "", **detail: Any) -> None:
        """Put this into the audit when the transaction ends. ``school``: whose people may read it."""
        self.notes.append(audit.Note(action, subject, school, detail))


class Refused(Exception):
    """What was asked of the registry can't be done; the message says why. Trying the same again can't help."""


class Registry:
    """One database. Safe to use from any thread: every call has its own connection and transaction."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its tables up to date. Raises RegistryDown."""
        try:
            self.engine = create_engine(_driver(url))
        except (SQLAlchemyError, ImportError, ValueError) as why:  # the message of some of them shows the password
            reason = "write sqlite:///path or postgresql://user:password@host/name"
            raise RegistryDown(f"registry: its URL names no database that is known here: {reason}") from why
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        try:
            _upgrade(self.engine)
        except SQLAlchemyError as why:
            shown = self.engine.url.render_as_string(hide_password=True)
            raise RegistryDown(f"registry {shown}: {why.__cause__ or why}") from why
        self._writing = self.engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to ask with; rows stay readable after it."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def change(self, by: str) -> Iterator[Change]:
        """A transaction, committed with its audit rows at the end of the block, undone if that raises.

        One at a time, on PostgreSQL too: what it reads stays so, and later ones have later times.
        """
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            head = audit.lock(session)
            change = Change(session, by, now())
            yield change
            session.flush()
            audit.append(head, session, by, change.now, change.notes)

    def schools(self) -> list[School]:
        """All schools, by name."""
        return self._all(select(School).order_by(School.name))

    def rooms(self, school: str) -> list[Room]:
        """The rooms of a school, by name."""
        return self._all(select(Room).where(Room.school == school).order_by(Room.name))

    def devices(self, schools: Collection[str] | None = None, after: str = "", limit: int = 1000) -> list[Device]:
        """Devices in the order of their ids, those after ``after``, at most ``limit``; None: of all schools."""
        with self.read() as session:
            return devices.page(session, schools, after, limit)

    def count_devices(self, schools: Collection[str] | None = None) -> int:
        """How many devices there are, in some schools or in all."""
        with self.read() as session:
            return devices.count(session, schools)

    def device(self, device_id: str) -> Device | None:
        """One device, or None."""
        with self.read() as session:
            return session.get(Device, device_id)

    def changed_since(self, mark: int) -> list[Device]:
        """Devices that changed at or after an instant (UTC milliseconds)."""
        return self._all(select(Device).where(Device.changed >= mark))

    def put(self, *rows: School | Room) -> None:
        """Add schools and rooms, or give those of the same keys these values."""
        with self.change(SYSTEM) as change:
            for row in rows:
                known = change.session.get(type(row), row.key)
                if known is None or known.name != row.name:
                    subject = f"{row.__tablename__}:{row.key}"
                    change.note(f"{row.__tablename__}.put", subject, getattr(row, "school", row.key), name=row.name)
                change.session.merge(row)
                change.session.flush()  # a room needs its school

    def enrol(self, device_id: str, school: str, room: str, name: str, kind: str, *, simulated: bool = False) -> str:
        """Add a device, or renew one with the same id; return its new secret, which is nowhere else."""
        with self.change(SYSTEM) as change:
            return devices.put(change, device_id, school, room, name, kind, simulated=simulated)

    def revoke(self, device_id: str) -> None:
        """From now on nothing from this device is accepted; unknown ids are no error."""
        with self.change(SYSTEM) as change:
            devices.set_status(change, device_id, "revoked")

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def _all(self, query: Any) -> list[Any]:
        with self.read() as session:
            return list(session.scalars(query))


class RegistryDown(Exception):
    """The registry can't be opened; the message says which and why."""


def now() -> int:
    """UTC milliseconds."""
    return int(time.time() * 1000)


def _driver(url: str) -> str:
    """SQLAlchemy's plain name for PostgreSQL means a driver that is not here."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _upgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3's own way of beginning is off: `_begin_sqlite` does it
    connection.execute("pragma journal_mode=wal")  # readers don't wait for the writer
    connection.execute("pragma synchronous=full")
    connection.execute("pragma foreign_keys=on")
    connection.execute("pragma busy_timeout=10000")


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write says so at once: one that reads first can't wait for its turn, it fails."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("begin immediate" if writes else "begin")
