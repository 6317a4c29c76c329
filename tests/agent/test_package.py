"""What is not signed, not whole or not only Python files of the agent is refused, each with its reason."""

from __future__ import annotations

import base64
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import Maker

from schoolpulse_agent import package, versions
from schoolpulse_agent.package import BadPackage, Manifest


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("packages") / "maker")


@pytest.fixture(scope="module")
def made(maker: Maker) -> tuple[Manifest, bytes]:
    return maker.make("0.2.0")


def key(maker: Maker) -> bytes:
    return package.public_key(maker.public)


def packed(*members: tuple[str | zipfile.ZipInfo, str]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(package.NEEDED):
            file.writestr(name, "")
        for member, text in members:
            file.writestr(member, text)
    return body.getvalue()


def test_what_was_signed_is_taken(maker: Maker, made: tuple[Manifest, bytes]) -> None:
    manifest, body = made
    assert package.read(manifest._asdict(), key(maker)) == manifest
    package.matches(manifest, body)
    package.check(body)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.3.0"},
        {"sha256": "0" * 64},
        {"size": 1},
        {"python": "3.8"},
        {"signature": base64.b64encode(bytes(64)).decode()},
        {"signature": "no base64 ư"},
        {"signature": ""},
    ],
)
def test_a_manifest_that_was_changed_is_not_signed(
    maker: Maker, made: tuple[Manifest, bytes], change: dict[str, object]
) -> None:
    with pytest.raises(BadPackage, match="is not signed with the key"):
        package.read({**made[0]._asdict(), **change}, key(maker))


def test_another_key_is_not_the_one_that_the_settings_name(
    maker: Maker, made: tuple[Manifest, bytes], tmp_path: Path
) -> None:
    other = Maker(tmp_path / "other")
    with pytest.raises(BadPackage, match="is not signed with the key"):
        package.read(made[0]._asdict(), key(other))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "../../etc/passwd"},
        {"version": "0.2.0\nsha256 "},
        {"version": "1"},
        {"version": "01.2"},
        {"sha256": "A" * 64},
        {"size": 0},
        {"size": package.MAX_BYTES + 1},
        {"size": True},
        {"size": "5"},
        {"python": "3"},
        {"signature": None},
    ],
)
def test_a_manifest_of_another_form_is_none(
    maker: Maker, made: tuple[Manifest, bytes], change: dict[str, object]
) -> None:
    with pytest.raises(BadPackage, match=r"no version|not a manifest|is none"):
        package.read({**made[0]._asdict(), **change}, key(maker))


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(Manifest._fields) | st.text(max_size=9), inner, max_size=6)
        ),
        max_leaves=10,
    )
)
def test_anything_else_is_no_manifest_and_no_error(maker: Maker, said: object) -> None:
    with pytest.raises(BadPackage):
        package.read(said, key(maker))


def test_versions_are_compared_by_their_numbers() -> None:
    said = ["0.9", "0.9.1", "0.10", "1.0.0", "1.0.0.1"]
    assert sorted(said, key=package.number) == said
    assert package.number("1.0") == package.number("1.0.0")


def link() -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("schoolpulse_agent/link.py")
    made.create_system, made.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return made


@pytest.mark.parametrize(
    "member",
    [
        "schoolpulse_agent/../../evil.py",
        "../evil.py",
        "/etc/evil.py",
        "other/evil.py",
        "evil.py",
        "schoolpulse_agent/evil.so",
        "schoolpulse_agent/evil.pyc",
        "schoolpulse_agent\\evil.py",
        "schoolpulse_agent/folder/",
        "C:/evil.py",
        link(),
    ],
    ids=lambda member: member if isinstance(member, str) else "a link",
)
def test_a_file_in_another_place_or_of_another_kind_is_refused(member: str | zipfile.ZipInfo) -> None:
    with pytest.raises(BadPackage, match="has no place in a package"):
        package.check(packed((member, "x")))


def test_what_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(BadPackage, match="bytes unpacked"):
        package.check(packed(("schoolpulse_agent/big.py", " " * (package.MAX_UNPACKED + 1))))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused_and_so_is_a_zip_without_the_agent() -> None:
    with pytest.raises(BadPackage, match="twice"):
        package.check(packed(("schoolpulse_agent/a.py", "1"), ("schoolpulse_agent/a.py", "2")))
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(BadPackage, match="is not in it"):
        package.check(empty.getvalue())


def test_a_damaged_zip_is_refused(made: tuple[Manifest, bytes]) -> None:
    body = bytearray(made[1])
    at = 40 + struct.unpack_from("<H", body, 26)[0]  # in the first file's data
    body[at] ^= 0xFF
    with pytest.raises(BadPackage, match=r"damaged|not a sound zip"):
        package.check(bytes(body))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.integers(0, 20_000).map(lambda cut: packed(("schoolpulse_agent/a.py", "1"))[cut:]))
def test_no_bytes_are_an_error_of_another_kind(body: bytes) -> None:
    try:
        package.check(body)
    except BadPackage:
        return
    assert body == packed(("schoolpulse_agent/a.py", "1"))


# On the disk


def test_what_lies_on_the_disk_is_verified_whenever_it_is_asked_for(
    maker: Maker, made: tuple[Manifest, bytes], tmp_path: Path
) -> None:
    manifest, body = made
    versions.keep(tmp_path, manifest, body)
    assert versions.find(tmp_path, "0.2.0", key(maker)) == tmp_path / "0.2.0.zip"
    (tmp_path / "0.2.0.zip").write_bytes(body + b"\0")
    with pytest.raises(BadPackage, match="not the one that was signed"):
        versions.find(tmp_path, "0.2.0", key(maker))
    (tmp_path / "0.2.0.zip").rename(tmp_path / "0.9.0.zip")  # an old version under a new name
    (tmp_path / "0.2.0.sig").rename(tmp_path / "0.9.0.sig")
    with pytest.raises(BadPackage, match=r"has the signature of 0\.2\.0"):
        versions.find(tmp_path, "0.9.0", key(maker))
    with pytest.raises(BadPackage, match="can't be read"):
        versions.find(tmp_path, "0.3.0", key(maker))
    with pytest.raises(BadPackage, match="no version"):
        versions.find(tmp_path, "../0.9.0", key(maker))


@pytest.mark.parametrize("said", ["", "[]", "null", '{"good": 5}', '{"starts": "3"}', '{"trial": null}', "\xff"])
def test_a_state_that_can_not_be_read_is_the_installed_version(tmp_path: Path, said: str) -> None:
    (tmp_path / versions.FILE).write_text(said, encoding="latin-1")
    assert versions.load(tmp_path) == versions.State()


def test_the_state_of_an_older_or_newer_agent_is_read(tmp_path: Path) -> None:
    """Its names are a contract between versions: this text stays what it is."""
    (tmp_path / versions.FILE).write_text(
        '{"good": "0.2.0", "previous": "0.1.0", "trial": "0.3.0", "tried": "0.3.0", "starts": 2, '
        '"refused": "0.2.5 why", "later": true}'
    )
    assert versions.load(tmp_path) == versions.State("0.2.0", "0.1.0", "0.3.0", "0.3.0", 2, "0.2.5 why")
