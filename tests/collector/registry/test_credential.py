"""Credentials: what is kept proves the one secret it was made of, and garbage proves nothing."""

from __future__ import annotations

import base64
import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from schoolpulse_collector.registry import credential

texts = st.text(max_size=60)  # lone surrogates too: no UTF-8 has those
secrets = st.text(st.characters(codec="utf-8"), max_size=60)


@given(secrets, texts)
def test_the_secret_that_was_kept_matches_and_no_other(secret: str, other: str) -> None:
    kept = credential.keep(secret)
    assert credential.matches(secret, kept)
    assert credential.matches(other, kept) == (other == secret)
    assert secret not in kept or len(secret) < 4


@given(secrets, texts)
def test_a_secret_of_version_0_1_still_matches(secret: str, other: str) -> None:
    kept = hashlib.sha256(secret.encode()).hexdigest()
    assert credential.matches(secret, kept)
    assert credential.matches(other, kept) == (other == secret)


@given(secrets)
def test_what_is_kept_fits_its_column_and_differs_each_time(secret: str) -> None:
    kept = credential.keep(secret)
    assert len(kept) <= 128
    assert credential.keep(secret) != kept


@given(texts, texts)
@example("", "")
@example("a", "$6$")
@example("a", "$6$a$b")
@example("a", "$6$a$b$c")
@example("a", "$6$=$=")
@example("a", "$6$ệ$ệ")
@example("a", "ệ")
@example("\ud800", "$6$AAAA$AAAA")
@example("\ud800", hashlib.sha256(b"").hexdigest())
def test_garbage_matches_nothing_and_raises_nothing(secret: str, kept: str) -> None:
    assert not credential.matches(secret, kept)
    assert not credential.matches(secret, "$6$" + kept)


@given(st.integers(0), st.characters(codec="utf-8"))
def test_a_record_with_one_character_changed_matches_no_more(at: int, letter: str) -> None:
    kept = credential.keep("secret")
    at %= len(kept)
    changed = kept[:at] + letter + kept[at + 1 :]
    if _meaning(changed) != _meaning(kept):  # the last letter of base64 has bits that say nothing
        assert not credential.matches("secret", changed)


def _meaning(kept: str) -> list[bytes] | None:
    try:
        return [base64.b64decode(part, validate=True) for part in kept.removeprefix("$6$").split("$")]
    except ValueError:
        return None


def test_neither_what_is_kept_nor_an_empty_secret_opens_anything() -> None:
    secret = credential.new_secret()
    for kept in (credential.keep(secret), credential.digest(secret)):
        assert not credential.matches(kept, kept)
        assert not credential.matches("", kept)
        assert not credential.matches(secret, "")


@given(st.integers(2, 50))
def test_no_two_secrets_are_alike(count: int) -> None:
    found = {credential.new_secret() for _ in range(count)}
    assert len(found) == count
    assert {len(secret) for secret in found} == {43}
