"""A registry of each kind: SQLite in a file, PostgreSQL in a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PostgreSQL

from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database."""
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database's URL."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture(scope="session")
def template(kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """The URL of a registry with two schools with a room each, which is only copied."""
    if kind == "sqlite":
        made = f"sqlite:///{tmp_path_factory.mktemp('template')}/registry.sqlite"
    else:
        made = request.getfixturevalue("postgresql").database()
    registry = Registry(made)
    registry.put(School(key="s1", name="Trường Tiểu học Đống Đa"), School(key="s2", name="Trường THCS Cầu Giấy"))
    registry.put(Room(key="r1", school="s1", name="Phòng máy 1"), Room(key="r2", school="s2", name="Phòng máy 2"))
    registry.close()
    return made


@pytest.fixture
def copied(template: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a copy of that registry, this test's own."""
    if template.startswith("sqlite"):
        shutil.copy(template.removeprefix("sqlite:///"), tmp_path)
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.database(f"template {template.rpartition('/')[2]}")


@pytest.fixture
def registry(copied: str) -> Iterator[Registry]:
    """That copy, open."""
    made = Registry(copied)
    yield made
    made.close()
