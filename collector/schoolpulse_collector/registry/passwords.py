"""Passwords: which are good enough, and how they are kept: argon2id, about 30 ms of one core and 19 MiB a check."""

from __future__ import annotations

import functools
import secrets
import threading
import unicodedata
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

SHORTEST = 10
COMMON = frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").split())

_hasher = PasswordHasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)  # OWASP's smallest that is sound
_turns = threading.BoundedSemaphore(4)  # forty strangers at once must not cost forty times the memory


def problem(login: str, password: str) -> str:
    """Why this may not be the password of this login: ``short``, ``login`` or ``common``; empty: it may."""
    password = _one_form(password)
    if len(password) < SHORTEST:
        return "short"
    if password.casefold() == login.casefold():
        return "login"
    return "common" if password.casefold() in COMMON or len(set(password)) < 4 else ""


def hash_password(password: str) -> str:
    """How a password is kept. Slow: do it outside a transaction."""
    with _turns:
        return _hasher.hash(_one_form(password))


def matches(password: str, kept: str) -> bool:
    """Whether this is the password kept so. Nothing kept costs the same time: no answer tells who is known."""
    with _turns:
        nobodys = _nobodys()
        try:
            return _hasher.verify(kept or nobodys, _one_form(password)) and bool(kept)
        except (Argon2Error, InvalidHashError):
            return False


@functools.cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))


def _one_form(password: str) -> str:
    """Keyboards compose Vietnamese letters in different ways; they are the same password."""
    return unicodedata.normalize("NFKC", password)
