"""The registry: which schools, rooms and devices there are, and who may do what. SQLite, or PostgreSQL by URL.

Reading: ``with registry.read() as session``. Changing: ``with registry.change(by) as change``, one transaction that
takes what it did into the audit. What can be asked and changed stands in this folder, a file a subject, as functions of
a session or a change.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schoolpulse_collector.registry import audit, devices
from schoolpulse_collector.registry.change import SYSTEM, Change, now
from schoolpulse_collector.registry.database import answering, open_database, turn
from schoolpulse_collector.registry.errors import Refused, RegistryDown
from schoolpulse_collector.registry.model import Device, Room, School

__all__ = ["SYSTEM", "Change", "Refused", "Registry", "RegistryDown", "now"]


class Registry:
    """One database. Safe to use from any thread: every call has its own connection and transaction.

    A database that goes away makes calls raise RegistryDown; the first call after it came back works again.
    """

    def __init__(self, url: str) -> None:
        """Open the database and bring its tables up to date. Raises RegistryDown."""
        self.engine = open_database(url)
        self._writing = self.engine.execution_options(writes=True)
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to ask with; rows stay readable after it. Raises RegistryDown."""
        with answering(self.engine), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def change(self, by: str) -> Iterator[Change]:
        """A transaction, committed with its audit rows at the end of the block, undone if that raises.

        One at a time, on PostgreSQL too: nobody else changes what it has read. Raises RegistryDown; if that comes from
        the end of the block, the change may have been made all the same.
        """
        with (
            answering(self.engine),
            turn(self.engine, self._turn),  # SQLite lets those who wait sleep longer and longer; here they don't
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            head = audit.lock(session)
            change = Change(session, by, now())
            yield change
            session.flush()
            audit.append(head, session, by, change.now, change.notes)

    def schools(self, keys: Collection[str] | None = None) -> list[School]:
        """Some schools (None: all), by name."""
        query = select(School).order_by(School.name)
        return self._all(query if keys is None else query.where(School.key.in_(keys)))

    def require_school(self, key: str | None) -> None:
        """Raises Refused if there is no such school; None: none is asked for."""
        if key is not None and not self.schools([key]):
            raise Refused(f"there is no school {key!r}: the keys are in 'schoolpulse org export FOLDER'")

    def rooms(self, schools: Collection[str] | None = None) -> list[Room]:
        """The rooms of some schools (None: of all), by name."""
        query = select(Room).order_by(Room.name)
        return self._all(query if schools is None else query.where(Room.school.in_(schools)))

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
                given = {name: value for name, value in vars(row).items() if name in row.__table__.columns}
                new = {name: value for name, value in given.items() if known is None or getattr(known, name) != value}
                if new:
                    subject = f"{row.__tablename__}:{row.key}"
                    change.note(f"{row.__tablename__}.put", subject, getattr(row, "school", row.key), after=new)
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
