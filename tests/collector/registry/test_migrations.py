"""Migrations: data of every earlier version comes along; what fails half-way leaves the old version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from atonce import in_processes, open_registry
from sqlalchemy import Engine, create_engine, inspect, select, text

from schoolpulse_collector import registry as package
from schoolpulse_collector.registry import Registry, RegistryDown, audit, credential, devices
from schoolpulse_collector.registry.model import ApiToken, Base, Device, Grant, Room

HASHES = [credential.digest(f"spk_{number}") for number in range(4)]
DATA = f"""
insert into school values ('s1', 'Trường Tiểu học Đống Đa'), ('s2', 'Trường THCS "Cầu Giấy"');
insert into room values ('r1', 's1', 'Phòng máy 1'), ('r2', 's2', 'Phòng máy 2');
insert into device values ('d1', 's1', 'r1', 'Máy 1', 'lab_pc', 'active', false, '{credential.digest("one")}', 1000);
insert into device values ('d2', 's2', 'r2', 'Máy 2', 'server', 'revoked', true, '{credential.digest("two")}', 2000);
insert into token values ('{HASHES[0]}', 'api', 'scripts', null), ('{HASHES[1]}', 'api', 'Nhập: khoá', 4102444800000);
insert into token values ('{HASHES[2]}', 'session', 'browser', 4102444800000), ('{HASHES[3]}', 'sign_in', 'link', 1)
"""


def engine_of(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


@pytest.fixture
def first(url: str) -> str:
    """A database of version 0001 with data."""
    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
    engine = engine_of(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in DATA.split(";"):
            connection.execute(text(statement.replace(":", "\\:")))
    engine.dispose()
    return url


def version(url: str) -> str:
    engine = engine_of(url)
    with engine.connect() as connection:
        found: str = connection.scalar(text("select version_num from alembic_version")) or ""
    engine.dispose()
    return found


# The tables.


def test_the_migrations_make_exactly_the_tables_and_columns_of_the_models(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_are_those_of_the_models_too(registry: Registry) -> None:
    """What `compare_metadata` does not look at: checks, and the defaults that old rows were given."""
    found = inspect(registry.engine)
    for table in Base.metadata.sorted_tables:
        wanted = {check.name for check in table.constraints if type(check).__name__ == "CheckConstraint"}
        assert {check["name"] for check in found.get_check_constraints(table.name)} == wanted, table
        for column in found.get_columns(table.name):
            default = (column["default"] or "").partition("::")[0].strip("'")
            if default and not default.startswith("nextval("):
                own: Any = table.columns[column["name"]].default
                assert str(own.arg) == default, (table, column)


def test_tables_that_were_upgraded_are_those_of_the_models(first: str) -> None:
    upgraded = Registry(first)
    with upgraded.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    upgraded.close()


# Data.


def test_all_data_of_version_0001_comes_along(first: str) -> None:
    registry = Registry(first)
    schools = {row.key: row for row in registry.schools()}
    assert {key: row.name for key, row in schools.items()} == {
        "s1": "Trường Tiểu học Đống Đa",
        "s2": 'Trường THCS "Cầu Giấy"',
    }
    assert (schools["s1"].code, schools["s1"].latitude, schools["s1"].merged_into) == ("", None, None)
    with registry.read() as session:
        assert {(r.key, r.school, r.name) for r in session.scalars(select(Room))} == {
            ("r1", "s1", "Phòng máy 1"),
            ("r2", "s2", "Phòng máy 2"),
        }
    one, two = registry.devices()
    assert (one.id, one.school, one.room, one.name, one.kind, one.status) == (
        "d1", "s1", "r1", "Máy 1", "lab_pc", "active",
    )  # fmt: skip
    assert (one.simulated, one.changed, two.simulated, two.status, two.changed) == (False, 1000, True, "revoked", 2000)
    assert credential.matches("one", one.secret_hash)
    assert (one.smbios_uuid, one.macs, one.enrolled, one.certificate, one.rekey_uses) == ("", "", 0, "", 0)
    assert "token" not in inspect(registry.engine).get_table_names()
    registry.close()


def test_programs_keep_their_tokens_with_all_rights_and_nobody_else_has_any(first: str) -> None:
    registry = Registry(first)
    with registry.change("system") as change:
        tokens = list(change.session.scalars(select(ApiToken).order_by(ApiToken.label)))
        found = [(row.hash, row.label, row.expires, row.last_used, row.revoked, row.created_by) for row in tokens]
        assert sorted(found, key=str) == sorted(
            [
                (HASHES[0], "scripts", None, 0, False, "system"),
                (HASHES[1], "Nhập: khoá", 4102444800000, 0, False, "system"),
            ],
            key=str,
        )
        grants = list(change.session.scalars(select(Grant)))
        assert {row.token for row in grants} == {row.id for row in tokens}
        assert {(row.person, row.role, row.unit, row.school, row.source) for row in grants} == {
            (None, "administrator", None, None, "local")
        }
        # Numbers go on after those that the migration gave.
        token = ApiToken(hash="x", label="new", created=1, created_by="system", last_used=0, revoked=False)
        change.session.add(token)
        change.session.flush()
        change.session.add(Grant(token=token.id, role="viewer"))
        change.session.flush()
        assert token.id > max(row.id for row in tokens)
    registry.close()


def test_an_upgraded_registry_works_and_its_audit_begins(first: str) -> None:
    registry = Registry(first)
    with registry.change("person:an") as change:
        devices.alter(change, change.session.get_one(Device, "d1"), room=None, asset_code="TS-1")
        devices.put(change, "d3", "s1", None, "M", "lab_pc")
    with registry.read() as session:
        assert audit.verify(session)[::2] == (2, None)
        found = session.get(Device, "d1")
        assert found
        assert found.room is None
    registry.close()


# Starting.


def test_a_second_start_writes_nothing(first: str) -> None:
    Registry(first).close()
    with engine_of(first).connect() as connection:
        mark = "pragma data_version"
        if connection.dialect.name == "postgresql":
            mark = "select max(greatest(v.xmin::text::int, t.xmin::text::int)) from alembic_version v, api_token t"
        before = connection.scalar(text(mark))
        Registry(first).close()
        assert connection.scalar(text(mark)) == before


def test_a_start_needs_no_turn_at_writing(registry: Registry, copied: str) -> None:
    with registry.change("person:an") as change:
        change.note("test", "test:")
        Registry(copied).close()


def test_an_upgrade_that_fails_at_its_end_leaves_the_old_version_with_its_data(first: str) -> None:
    engine = engine_of(first)
    with engine.begin() as connection:
        connection.execute(text("create table sighting (x integer)"))  # the last that 0002 makes
    before = inspect(engine).get_table_names()
    with pytest.raises(RegistryDown, match="sighting"):
        Registry(first)
    assert version(first) == "0001"
    assert sorted(inspect(engine).get_table_names()) == sorted(before)
    assert "asset_code" not in {column["name"] for column in inspect(engine).get_columns("device")}
    with engine.begin() as connection:
        assert connection.scalar(text("select count(*) from token")) == 4
        connection.execute(text("drop table sighting"))
    engine.dispose()
    registry = Registry(first)  # and once what was in the way is gone, it works
    assert registry.count_devices() == 2
    registry.close()


def test_a_database_of_a_newer_version_is_named_so_and_left_alone(registry: Registry, copied: str) -> None:
    with registry.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(RegistryDown, match=r"are of version 9999, this program knows 0.*install the newer") as raised:
        Registry(copied)
    assert "\n" not in str(raised.value)
    assert version(copied) == "9999"


@pytest.mark.parametrize("filled", [True, False])
def test_processes_that_start_at_once_on_one_database_all_start(
    url: str, filled: bool, request: pytest.FixtureRequest
) -> None:
    if filled:
        request.getfixturevalue("first")
    schools = 2 if filled else 0
    assert in_processes(3, open_registry, url) == [schools] * 3
    registry = Registry(url)
    with registry.read() as session:
        assert len(list(session.scalars(select(ApiToken)))) == schools
    registry.close()
