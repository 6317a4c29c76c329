"""Makes packages of the agent and signs them: on a machine of the maker's own, never on the centre's server.

Who can sign can run code on every machine whose settings name the key; so the centre, which can be reached from
everywhere, hands out what was signed elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from importlib import metadata
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import schoolpulse_agent
from schoolpulse_agent import package
from schoolpulse_agent.package import Manifest

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # so that the same source makes the same bytes


def build(folder: Path, source: Path | None = None) -> Path:
    """Pack the agent that is installed here (or the package's folder ``source``); return the zip's path."""
    source = source or Path(schoolpulse_agent.__file__).parent
    body = BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(source.rglob("*.py"), key=lambda path: path.relative_to(source).as_posix()):
            member = zipfile.ZipInfo(f"schoolpulse_agent/{path.relative_to(source).as_posix()}", LONG_AGO)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            packed.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    package.check(body.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / package.name(version_in(body.getvalue()))
    made.write_bytes(body.getvalue())
    return made


def new_key(path: Path) -> str:
    """Write a new private key that only its owner can read; return its public key. Raises FileExistsError."""
    key = Ed25519PrivateKey.generate()
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, form, plain)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(pem)
    return public_key(key)


def sign(key_file: Path, zip_file: Path) -> Manifest:
    """Sign a package; the ``.sig`` beside it is what ``schoolpulse rollout start`` reads. Raises ValueError."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{key_file} is no Ed25519 key: make one with 'schoolpulse package key'")
    body = zip_file.read_bytes()
    try:
        package.check(body)
    except package.BadPackage as why:
        raise ValueError(f"{zip_file}: {why}") from None
    version = version_in(body)
    if zip_file.name != package.name(version) or len(body) > package.MAX_BYTES:
        raise ValueError(f"{zip_file} holds version {version}: it must be {package.name(version)}, at most 4 MB")
    unsigned = Manifest(version, hashlib.sha256(body).hexdigest(), len(body), oldest_python())
    made = unsigned._replace(signature=base64.b64encode(key.sign(unsigned.text())).decode())
    package.read(made._asdict(), package.public_key(public_key(key)))  # as every agent will
    zip_file.with_name(zip_file.name + ".sig").write_text(json.dumps(made._asdict(), indent=2) + "\n")
    return made


def public_key(key: Ed25519PrivateKey) -> str:
    """As ``update.public_key`` in agent.toml has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def version_in(body: bytes) -> str:
    """The version that a zip's own ``__init__.py`` states. Raises ValueError."""
    with zipfile.ZipFile(BytesIO(body)) as packed:
        lines = packed.read("schoolpulse_agent/__init__.py").decode().splitlines()
    said = [line.partition("=")[2].strip(" \"'") for line in lines if line.startswith("__version__")]
    try:
        package.number(said[0] if said else "")
    except package.BadPackage as why:
        raise ValueError(f"schoolpulse_agent/__init__.py: {why}") from None
    return said[0]


def oldest_python() -> str:
    """What the agent says that it needs, as 3.9."""
    return (metadata.metadata("schoolpulse-agent")["Requires-Python"] or "").removeprefix(">=")
