"""API tokens in a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from schoolpulse_collector.registry import Refused, Registry, audit, now, tokens
from schoolpulse_collector.registry.model import ApiToken


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    yield made
    made.close()


def issued(registry: Registry, seconds: float | None = None) -> tuple[ApiToken, str]:
    with registry.change("person:lan") as change:
        return tokens.issue(change, " sao  lưu ", seconds, [("viewer", None, None)])


def found(registry: Registry, text: str) -> ApiToken | None:
    with registry.read() as session:
        return tokens.find(session, text)


def test_a_token_is_found_by_its_text_until_it_is_revoked(registry: Registry, tmp_path: Path) -> None:
    token, text = issued(registry)
    assert text.startswith("spk_") and len(text) == 47
    known = found(registry, text)
    assert known and (known.label, known.created_by) == ("sao lưu", "person:lan")
    with registry.change("person:lan") as change:
        tokens.revoke(change, token.id)
    assert found(registry, text) is None
    registry.close()
    assert not [path for path in tmp_path.iterdir() if text.encode() in path.read_bytes()]


def test_an_expired_token_is_none(registry: Registry) -> None:
    assert found(registry, issued(registry, 60)[1])
    assert found(registry, issued(registry, -1)[1]) is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_what_was_never_issued_is_no_token(registry: Registry, text: str) -> None:
    token, _ = issued(registry)
    assert found(registry, text) is None and found(registry, token.hash) is None


def test_use_is_written_once_a_minute_however_often_it_happens(registry: Registry) -> None:
    _, text = issued(registry)
    writes = list[str]()
    event.listen(registry.engine, "before_cursor_execute", lambda *what: writes.append(what[2]))
    with registry.change("system") as change:
        change.session.execute(update(ApiToken).values(last_used=now() // 60_000 * 60_000 - 60_000))
    writes.clear()
    for _ in range(5):
        tokens.touch(registry, found(registry, text) or ApiToken())
    known = found(registry, text)
    assert known and known.last_used % 60_000 == 0 and now() - known.last_used < 120_000
    assert 1 <= sum(each.lower().startswith("update api_token") for each in writes) <= 2  # a minute may end meanwhile


def test_labels_and_numbers_that_name_nothing_are_refused(registry: Registry) -> None:
    with pytest.raises(Refused), registry.change("system") as change:
        tokens.issue(change, "  ", None, [])
    with pytest.raises(Refused), registry.change("system") as change:
        tokens.issue(change, "x", None, [("viewer", "no such unit", None)])
    with pytest.raises(Refused), registry.change("system") as change:
        tokens.revoke(change, 9)
    with registry.read() as session:
        assert audit.verify(session)[0] == 0 and not tokens.everything(session)
