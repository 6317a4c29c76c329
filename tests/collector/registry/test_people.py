"""People in a real registry: passwords, codes, links and sessions."""

from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from schoolpulse_collector.registry import Refused, Registry, audit, now, passwords, people, totp
from schoolpulse_collector.registry.model import Audit, Login, Person

PASSWORD = "bảy con mèo đi học"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    yield made
    made.close()


@pytest.fixture
def lan(registry: Registry) -> Person:
    hashed = passwords.hash_password(PASSWORD)
    with registry.change("system") as change:
        person = people.add(change, "Lan@Truong.vn", "Nguyễn  Thị Lan")
        people.set_password(change, person, hashed)
    return person


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    start, results = threading.Barrier(count), list[object]()

    def run() -> None:
        start.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def check(registry: Registry, login: str, password: str) -> Person | None:
    with registry.read() as session:
        return people.check_password(session, login, password)


def found(registry: Registry, session_text: str) -> tuple[Login, Person] | None:
    with registry.read() as session:
        return people.login_of(session, session_text)


def opened(registry: Registry, person: Person, stage: str = "full") -> str:
    with registry.change("system") as change:
        return people.open_login(change, person, stage, "Firefox")


def test_logins_are_lower_case_and_each_is_one_persons(registry: Registry, lan: Person) -> None:
    assert (lan.login, lan.name) == ("lan@truong.vn", "Nguyễn Thị Lan")
    with pytest.raises(Refused, match="taken"), registry.change("system") as change:
        people.add(change, "LAN@truong.vn", "another")


@pytest.mark.parametrize(
    "login", ["", "a", "lan nguyen", "lân", "x" * 65, "a/b", "a\nb", "ab\n\n c", "a\x00b", "\ud800b"]
)
def test_what_can_not_be_a_login_is_refused(registry: Registry, login: str) -> None:
    with pytest.raises(Refused), registry.change("system") as change:
        people.add(change, login, "x")


def test_only_the_right_password_of_an_active_person_signs_in(registry: Registry, lan: Person) -> None:
    signed_in = check(registry, " LAN@truong.vn ", PASSWORD)
    assert signed_in and signed_in.id == lan.id
    for login, password in (("lan@truong.vn", PASSWORD + "x"), ("nobody", PASSWORD), ("lan@truong.vn", "")):
        assert check(registry, login, password) is None
    with registry.change("system") as change:
        people.deactivate(change, lan)
    assert check(registry, "lan@truong.vn", PASSWORD) is None
    with registry.change("system") as change:
        people.activate(change, lan)
    assert check(registry, "lan@truong.vn", PASSWORD)


def test_a_password_is_the_same_however_the_keyboard_composes_its_letters(registry: Registry, lan: Person) -> None:
    assert unicodedata.normalize("NFD", PASSWORD) != PASSWORD
    assert check(registry, lan.login, unicodedata.normalize("NFD", PASSWORD))


def test_nobody_without_a_password_signs_in_by_password(registry: Registry) -> None:
    with registry.change("system") as change:
        people.add(change, "minh", "Minh")
    assert check(registry, "minh", "") is None


def test_a_password_itself_is_never_kept(registry: Registry, lan: Person) -> None:
    with pytest.raises(ValueError, match="hash_password"), registry.change("system") as change:
        people.set_password(change, lan, PASSWORD)
    assert passwords.hash_password(PASSWORD).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("ngắn quá", "short"),
        ("Lan@Truong.vn", "login"),
        ("MatKhau123", "common"),
        ("1212121212121", "common"),
        (PASSWORD, ""),
    ],
)
def test_passwords_that_are_easy_to_guess_are_told(password: str, why: str) -> None:
    assert passwords.problem("lan@truong.vn", password) == why


def test_a_code_is_good_once_and_so_is_none_before_it(registry: Registry, lan: Person) -> None:
    secret, step = totp.new_secret(), now() // 30_000
    app = pyotp.TOTP(secret)

    def tried(which: int) -> bool:
        with registry.change("system") as change:
            change.now = step * 30_000  # the steps of this test hold still
            return people.check_totp(change, lan, app.generate_otp(which))

    with registry.change("system") as change:
        change.now = step * 30_000
        assert not people.confirm_totp(change, lan, secret, "000000")
        assert people.confirm_totp(
            change, lan, secret, f" {app.generate_otp(step - 1)[:3]} {app.generate_otp(step - 1)[3:]}"
        )
    assert [tried(each) for each in (step - 2, step - 1, step, step, step + 1, step, step + 2)] == [
        False, False, True, False, True, False, False,
    ]  # fmt: skip


def test_a_code_is_spent_once_by_ten_at_once(registry: Registry, lan: Person) -> None:
    secret = totp.new_secret()
    code = pyotp.TOTP(secret).now()
    with registry.change("system") as change:
        change.session.get_one(Person, lan.id).totp_secret = secret

    def tried() -> bool:
        with registry.change("system") as change:
            return people.check_totp(change, lan, code)

    assert sorted(map(bool, at_once(10, tried))) == [False] * 9 + [True]


def test_a_second_factor_is_replaced_only_after_it_was_removed(registry: Registry, lan: Person) -> None:
    secret, other = totp.new_secret(), totp.new_secret()
    with registry.change("system") as change:
        assert people.confirm_totp(change, lan, secret, pyotp.TOTP(secret).now())
    with pytest.raises(Refused), registry.change("system") as change:
        people.confirm_totp(change, lan, other, pyotp.TOTP(other).now())
    with registry.change("system") as change:
        people.remove_totp(change, lan)
        assert not people.check_totp(change, lan, pyotp.TOTP(secret).now())
        assert people.confirm_totp(change, lan, other, pyotp.TOTP(other).now())


@given(st.text(max_size=12))
def test_what_is_no_code_is_refused_and_no_error(code: str) -> None:
    assert totp.step_of("A" * 32, code, 30_000_000) in (None, 999, 1000, 1001)
    assert totp.step_of("A" * 32, code + "x", 30_000_000) is None


def test_a_link_is_spent_exactly_once_by_ten_at_once(registry: Registry, lan: Person) -> None:
    with registry.change("system") as change:
        link = people.issue_link(change, lan)

    def spent() -> object:
        with registry.change("system") as change:
            return people.spend_link(change, link)

    winners = [person for person in at_once(10, spent) if person]
    assert [person.id for person in winners if isinstance(person, Person)] == [lan.id]


def test_expired_links_and_those_of_deactivated_people_open_nothing(registry: Registry, lan: Person) -> None:
    with registry.change("system") as change:
        old, other = people.issue_link(change, lan, -1), people.issue_link(change, lan)
        assert people.spend_link(change, old) is None and not people.link_is_good(change.session, old)
        assert people.link_is_good(change.session, other)
        people.deactivate(change, lan)
        assert people.spend_link(change, other) is None
        with pytest.raises(Refused):
            people.issue_link(change, lan)


def test_a_session_ends_after_12_hours_and_is_cleared_away(registry: Registry, lan: Person) -> None:
    first = opened(registry, lan)
    login, person = found(registry, first) or (None, None)
    assert login and person and person.id == lan.id
    assert login.expires - login.created == 12 * 3_600_000
    with registry.change("system") as change:
        change.session.execute(update(Login).values(expires=change.now))
    assert found(registry, first) is None
    second = opened(registry, lan)
    with registry.read() as session:
        assert len(list(session.scalars(select(Login)))) == 1
    assert found(registry, second)


def test_deactivating_ends_sessions_and_so_does_closing_all_but_one(registry: Registry, lan: Person) -> None:
    one, two, three = (opened(registry, lan) for _ in range(3))
    login, _ = found(registry, two) or (None, None)
    with registry.change("system") as change:
        people.close_logins(change, lan, but=login)
    assert [bool(found(registry, each)) for each in (one, two, three)] == [False, True, False]
    with registry.change("system") as change:
        people.deactivate(change, lan)
    assert found(registry, two) is None


def test_a_provider_never_gets_into_an_account_by_its_name(registry: Registry, lan: Person) -> None:
    with registry.change("system") as change:
        new = people.of_provider(change, "https://id.example", "42", "lan@truong.vn", "Lan")
        third = people.of_provider(change, "https://id.example", "43", "Lan@Truong.vn", "")
        assert (new.login, third.login) == ("lan@truong.vn-2", "lan@truong.vn-3")
        assert people.of_provider(change, "https://id.example", "42", "other", "Other").id == new.id
        assert people.of_provider(change, "https://else.example", "42", "", "").id != new.id


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=80))
def test_whatever_a_provider_calls_somebody_becomes_a_login(wish: str) -> None:
    registry = Registry("sqlite://")
    with registry.change("system") as change:
        logins = [people.of_provider(change, "https://id.example", str(n), wish, "").login for n in range(3)]
    registry.close()
    assert len(set(logins)) == 3 and all(people.LOGIN.fullmatch(login) for login in logins)


def test_the_audit_tells_all_of_it_and_no_secret_and_only_hashes_are_kept(
    registry: Registry, lan: Person, tmp_path: Path
) -> None:
    secret = totp.new_secret()
    with registry.change("person:lan") as change:
        link = people.issue_link(change, lan)
        people.confirm_totp(change, lan, secret, pyotp.TOTP(secret).now())
        people.rename(change, lan, "Lan")
        session_text = people.open_login(change, lan, "full", "x")
        people.remove_totp(change, lan)
        people.deactivate(change, lan)
    with registry.read() as session:
        assert audit.verify(session)[2] is None
        rows = list(session.scalars(select(Audit)))
    told = json.dumps([[row.actor, row.action, row.subject, row.detail] for row in rows], ensure_ascii=False)
    assert {"person.add", "person.password", "person.link", "person.totp", "person.rename"} < {
        row.action for row in rows
    }
    registry.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for hidden in (PASSWORD, link, secret, session_text, "$argon2id"):
        assert hidden not in told
    for hidden in (PASSWORD, link, session_text):
        assert hidden.encode() not in kept


@pytest.mark.parametrize("login", ["", "\x00", "a\x00b", "\ud800\ud800", "x" * 10_000])
def test_whatever_is_typed_as_a_login_is_nobody_and_no_error(registry: Registry, login: str) -> None:
    assert check(registry, login, PASSWORD) is None
