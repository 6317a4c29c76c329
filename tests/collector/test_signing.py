"""The same source makes the same package; the key is its owner's alone; what is signed is what agents take."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from schoolpulse_agent import __version__, package
from schoolpulse_collector import signing


def test_the_same_source_makes_the_same_bytes_whenever_and_by_whomever(tmp_path: Path) -> None:
    source = Path(signing.schoolpulse_agent.__file__).parent
    copy = tmp_path / "copy" / "schoolpulse_agent"
    for path in sorted(source.rglob("*.py"), reverse=True):
        there = copy / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())
        there.chmod(0o700)
        os.utime(there, (1, 1))
    one, other = signing.build(tmp_path / "one"), signing.build(tmp_path / "other", copy)
    assert one.name == other.name == f"schoolpulse-agent-{__version__}.zip"
    assert one.read_bytes() == other.read_bytes()
    packed = zipfile.ZipFile(one).namelist()
    assert packed == sorted(packed) and len(packed) == len(list(source.rglob("*.py")))


def test_a_new_key_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600 and len(package.public_key(public)) == 32
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(FileExistsError):
        signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_a_signed_package_is_what_an_agent_takes(tmp_path: Path) -> None:
    public, made = signing.new_key(tmp_path / "key"), signing.build(tmp_path)
    manifest = signing.sign(tmp_path / "key", made)
    said = json.loads(made.with_name(made.name + ".sig").read_text())
    assert package.read(said, package.public_key(public)) == manifest
    assert (manifest.version, manifest.python) == (__version__, "3.9")
    package.matches(manifest, made.read_bytes())


def test_what_is_no_package_or_no_key_is_not_signed(tmp_path: Path) -> None:
    signing.new_key(tmp_path / "key")
    made = signing.build(tmp_path)
    other = made.rename(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="it must be schoolpulse-agent-"):
        signing.sign(tmp_path / "key", other)
    other.write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a sound zip"):
        signing.sign(tmp_path / "key", other)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, form, plain)
    (tmp_path / "other").write_bytes(pem)
    with pytest.raises(ValueError, match="no Ed25519 key"):
        signing.sign(tmp_path / "other", signing.build(tmp_path))
    assert list(tmp_path.glob("*.sig")) == []
