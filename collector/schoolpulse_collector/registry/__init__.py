"""The registry: which schools, rooms and devices there are, and who may sign in. SQLite, or PostgreSQL by URL."""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, delete, event, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from schoolpulse_collector.registry.model import Device, Room, School, Token


def digest(secret: str) -> str:
    """How secrets are kept: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Registry:
    """One database. Safe to use from any thread: every call has its own connection and transaction."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its tables up to date. Raises RegistryDown."""
        try:
            self.engine = create_engine(url)
        except (SQLAlchemyError, ImportError, ValueError) as why:  # the message of some of them shows the password
            reason = "write sqlite:///path or postgresql://user:password@host/name"
            raise RegistryDown(f"registry: its URL names no database that is known here: {reason}") from why
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
        try:
            _upgrade(self.engine)
        except SQLAlchemyError as why:
            shown = self.engine.url.render_as_string(hide_password=True)
            raise RegistryDown(f"registry {shown}: {why.__cause__ or why}") from why

    def schools(self) -> list[School]:
        """All schools, by name."""
        return self._all(select(School).order_by(School.name))

    def rooms(self, school: str) -> list[Room]:
        """The rooms of a school, by name."""
        return self._all(select(Room).where(Room.school == school).order_by(Room.name))

    def devices(self, school: str | None = None, after: str = "", limit: int = 1000) -> list[Device]:
        """Devices in the order of their ids, those after ``after``, at most ``limit``."""
        query = select(Device).where(Device.id > after).order_by(Device.id).limit(limit)
        return self._all(query.where(Device.school == school) if school else query)

    def count_devices(self, school: str | None = None) -> int:
        """How many devices there are, in a school or in all."""
        query = select(func.count()).select_from(Device)
        with Session(self.engine) as session:
            return session.scalar(query.where(Device.school == school) if school else query) or 0

    def device(self, device_id: str) -> Device | None:
        """One device, or None."""
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get(Device, device_id)

    def changed_since(self, mark: int) -> list[Device]:
        """Devices that changed at or after an instant (UTC milliseconds)."""
        return self._all(select(Device).where(Device.changed >= mark))

    def put(self, *rows: School | Room) -> None:
        """Add schools and rooms, or give those of the same keys these values."""
        with Session(self.engine) as session, session.begin():
            for row in rows:
                session.merge(row)
                session.flush()  # a room needs its school

    def enrol(self, device_id: str, school: str, room: str, name: str, kind: str, *, simulated: bool = False) -> str:
        """Add a device, or renew one with the same id; return its new secret, which is nowhere else."""
        secret = secrets.token_urlsafe(32)
        row = {"school": school, "room": room, "name": name, "kind": kind, "simulated": simulated}
        row |= {"status": "active", "secret_hash": digest(secret), "changed": _now()}
        try:
            self._put_device(device_id, row)
        except IntegrityError:  # somebody else added it between our look and our insert; or school or room are unknown
            self._put_device(device_id, row)
        return secret

    def revoke(self, device_id: str) -> None:
        """From now on nothing from this device is accepted; unknown ids are no error."""
        with Session(self.engine) as session, session.begin():
            row = session.get(Device, device_id)
            if row:
                row.status, row.changed = "revoked", _now()

    def issue_token(self, purpose: str, label: str, seconds: float | None = None) -> str:
        """Make a token; return its text, shown only this once."""
        text = "spk_" + secrets.token_urlsafe(32)
        expires = None if seconds is None else _now() + int(seconds * 1000)
        with Session(self.engine) as session, session.begin():
            session.execute(delete(Token).where(Token.expires < _now()))
            session.add(Token(hash=digest(text), purpose=purpose, label=label, expires=expires))
        return text

    def token_is_good(self, text: str, purpose: str) -> bool:
        """Whether this token exists, is for this purpose and has not expired."""
        with Session(self.engine) as session:
            row = session.get(Token, digest(text))
            return row is not None and row.purpose == purpose and (row.expires is None or row.expires > _now())

    def spend_token(self, text: str, purpose: str) -> bool:
        """Use a one-time token: true exactly once, however many try at the same instant."""
        gone = delete(Token).where(Token.hash == digest(text), Token.purpose == purpose, Token.expires > _now())
        with Session(self.engine) as session, session.begin():
            return session.execute(gone).rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def _put_device(self, device_id: str, row: dict[str, Any]) -> None:
        with Session(self.engine) as session, session.begin():
            session.merge(Device(id=device_id, **row))

    def _all(self, query: Any) -> list[Any]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))


class RegistryDown(Exception):
    """The registry can't be opened; the message says which and why."""


def _now() -> int:
    return int(time.time() * 1000)


def _upgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("pragma journal_mode=wal")  # readers don't wait for the writer
    connection.execute("pragma synchronous=full")
    connection.execute("pragma foreign_keys=on")
    connection.execute("pragma busy_timeout=10000")
