"""Opens the registry's database, SQLite or PostgreSQL, and brings its tables up to date."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url

from schoolpulse_collector.registry.errors import RegistryDown

WAIT = 30  # seconds that a change waits for its turn
UPGRADING = 0x5C400150  # number of PostgreSQL's lock that one upgrade holds at a time
# A server that vanished from the network is noticed in seconds, not after TCP's quarter of an hour.
PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5}


def open_database(url: str) -> Engine:
    """The database, its tables made or brought up to date; several processes may do so at once.

    Raises RegistryDown, whose message never shows a password. An upgrade that fails leaves everything as it was.
    """
    engine = _engine(url)
    try:
        with answering(engine):
            _upgrade(engine)
    except RegistryDown:
        engine.dispose()
        raise
    except exc.SQLAlchemyError as why:
        engine.dispose()
        raise RegistryDown(f"registry {_shown(engine.url)}: {_reason(why)}") from why
    return engine


@contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """Makes one error, RegistryDown, of all the ways in which a database can be away, too busy or full."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as why:
        raise RegistryDown(f"registry {_shown(engine.url)}: {_reason(why)}; a retry may help") from why


@contextmanager
def turn(engine: Engine, lock: threading.Lock) -> Iterator[None]:
    """Lets one thread of this process after the other change something. Raises RegistryDown."""
    if not lock.acquire(timeout=WAIT):
        raise RegistryDown(f"registry {_shown(engine.url)}: other changes take too long; a retry may help")
    try:
        yield
    finally:
        lock.release()


def _engine(url: str) -> Engine:
    hint = "write sqlite:///path or postgresql://user:password@host/name, and in a password %40 for @, %2F for /"
    try:
        parts = make_url(_driver(url))
        if "@" in (parts.host or ""):
            raise ValueError("part of the password would be taken for the host, and shown")
        # Parameters of a statement, hashes among them, belong in no log.
        options: dict[str, Any] = {"hide_parameters": True}
        if parts.get_backend_name() == "postgresql":
            options["pool_pre_ping"] = True  # a file is never away
            options["connect_args"] = {key: value for key, value in PATIENCE.items() if key not in parts.query}
        engine = create_engine(parts, **options)
        if engine.dialect.name not in ("sqlite", "postgresql"):
            raise ValueError("another database")
    except (exc.SQLAlchemyError, ImportError, ValueError, TypeError) as why:  # messages of some show the password
        raise RegistryDown(f"registry: its URL names no database that is known here: {hint}") from why
    if engine.dialect.name == "sqlite":
        _make_private(parts.database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _check_encoding, insert=True)  # before SQLAlchemy's own first questions
    return engine


def _driver(url: str) -> str:
    """SQLAlchemy's plain name for PostgreSQL means a driver that is not here."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _shown(url: URL) -> str:
    """The URL without its password; libpq takes one after the question mark too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _reason(why: exc.SQLAlchemyError) -> str:
    return " ".join(str(why.__cause__ or why).split())


def _check_encoding(connection: Any, _record: Any) -> None:
    if connection.info.parameter_status("server_encoding") != "UTF8":  # from SQL_ASCII every text comes as bytes
        hint = "create database ... encoding 'UTF8' template template0"
        raise RegistryDown(f"registry: the database is not in UTF8; make one that is: {hint}")


def _upgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _is_up_to_date(connection, scripts):
            return
    with engine.execution_options(writes=True).begin() as connection:  # whoever comes second waits here
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({UPGRADING})")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")  # and finds nothing to do


def _is_up_to_date(connection: Connection, scripts: ScriptDirectory) -> bool:
    found = set(MigrationContext.configure(connection).get_current_heads())
    unknown = found - {script.revision for script in scripts.walk_revisions()}
    if unknown:
        versions = f"its tables are of version {sorted(unknown)[0]}, this program knows {scripts.get_current_head()}"
        reason = f"{versions}: install the newer SchoolPulse that made them, or restore a backup from before it"
        raise RegistryDown(f"registry {_shown(connection.engine.url)}: {reason}")
    return found == set(scripts.get_heads())


def _make_private(file: str | None) -> None:
    """Nobody else may read who signs in and how; SQLite gives the files beside it the same permissions."""
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).exists():
        with suppress(OSError):  # SQLite says it better
            Path(file).touch(mode=0o600)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3's own way of beginning is off: `_begin_sqlite` does it
    connection.execute(f"pragma busy_timeout={WAIT * 1000}")
    connection.execute("pragma journal_mode=wal")  # readers don't wait for the writer
    connection.execute("pragma synchronous=full")
    connection.execute("pragma foreign_keys=on")


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write says so at once: one that reads first can't wait for its turn, it fails."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("begin immediate" if writes else "begin")
