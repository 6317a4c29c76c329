"""What several test files share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import Demo, PostgreSQL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick ones first: a broken basis should show in seconds."""
    order = ["laws", "agent", "collector", "api", "whole"]
    items.sort(key=lambda item: next((i for i, name in enumerate(order) if f"tests/{name}/" in item.nodeid), 9))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The whole product, running: one for all tests that only look."""
    running = Demo(tmp_path_factory.mktemp("demo")).ready()
    yield running
    assert running.stop() == 0, running.printed()[-3000:]
    assert "Traceback" not in running.printed(), running.printed()[-5000:]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL for all tests; each makes a database of its own in it."""
    running = PostgreSQL()
    yield running
    running.stop()
