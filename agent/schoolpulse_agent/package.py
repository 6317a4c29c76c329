"""A newer version of the agent as one signed file: a zip of ``schoolpulse_agent/`` and the word of who made it.

Signed is a short text that names version, size and SHA-256 (Ed25519, by a key that no server has). Whoever runs a
package asks `read` and `matches` first, at every start: what lies on a disk may have been changed since.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from schoolpulse_agent import ed25519

if TYPE_CHECKING:
    import zipfile

MAX_BYTES = 4 * 2**20  # of the zip
MAX_UNPACKED = 16 * 2**20
_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){1,3}", re.ASCII).fullmatch
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch
_NAME = re.compile(r"schoolpulse_agent/([a-z0-9_]+/)*[a-z0-9_]+\.py", re.ASCII).fullmatch
_PYTHON = re.compile(r"3\.[0-9]{1,2}", re.ASCII).fullmatch
NEEDED = {"schoolpulse_agent/__init__.py", "schoolpulse_agent/__main__.py"}


class BadPackage(Exception):
    """This package must not run; the message says why."""


class Manifest(NamedTuple):
    """What is signed of a package, and the signature."""

    version: str  # as 0.2.0
    sha256: str  # of the zip, lower hex
    size: int  # of the zip, bytes
    python: str  # the oldest that it runs on, as 3.9
    signature: str = ""  # base64, of ``text``

    def text(self) -> bytes:
        """What the signature is of."""
        return (
            f"schoolpulse-agent {self.version}\nsha256 {self.sha256}\nsize {self.size}\npython {self.python}\n"
        ).encode("ascii")


def name(version: str) -> str:
    """The package's file name, on the centre's server too."""
    return f"schoolpulse-agent-{version}.zip"


def number(version: str) -> tuple[int, ...]:
    """To compare two versions by. Raises BadPackage for what is none."""
    if not _VERSION(version):
        raise BadPackage(f"{version[:40]!r} is no version")
    parts = tuple(map(int, version.split(".")))
    return parts + (0,) * (4 - len(parts))


def public_key(said: str) -> bytes:
    """The 32 bytes of a key as settings hold it, base64. Raises ValueError."""
    try:
        key = base64.b64decode(said, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise ValueError("an Ed25519 public key is 32 bytes, as 44 letters of base64")
    return key


def read(said: Any, key: bytes) -> Manifest:
    """The manifest in an offer or a ``.sig`` file, if this key has signed it. Raises BadPackage."""
    fields: dict[str, Any] = {field: said.get(field) for field in Manifest._fields} if isinstance(said, dict) else {}
    kinds = [type(value) for value in fields.values()]
    if kinds != [str, str, int, str, str]:
        raise BadPackage("not a manifest: it needs version, sha256, size, python and signature")
    found = Manifest(**fields)
    number(found.version)
    if not _DIGEST(found.sha256) or not _PYTHON(found.python) or not 0 < found.size <= MAX_BYTES:
        raise BadPackage(f"manifest of {found.version}: sha256, python or size is none (at most {MAX_BYTES} bytes)")
    try:
        signature = base64.b64decode(found.signature, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not ed25519.verify(key, found.text(), signature):
        raise BadPackage(f"{found.version} is not signed with the key that update.public_key names")
    return found


def matches(manifest: Manifest, body: bytes) -> None:
    """Raise BadPackage unless these bytes are what was signed."""
    if len(body) != manifest.size or hashlib.sha256(body).hexdigest() != manifest.sha256:
        raise BadPackage(f"the file of {manifest.version} ({len(body)} bytes) is not the one that was signed")


def check(body: bytes) -> None:
    """Raise BadPackage unless this is a sound zip that holds Python files under ``schoolpulse_agent/`` alone."""
    import io
    import zipfile  # here: it costs a megabyte, and an agent needs it once a version

    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            _check_members(packed.infolist())
            broken = packed.testzip()
    except BadPackage:
        raise
    except Exception as why:  # BadZipFile, zlib.error, and whatever else a crafted file brings up
        raise BadPackage(f"not a sound zip: {type(why).__name__}: {why}") from None
    if broken:
        raise BadPackage(f"{broken} in it is damaged")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        kind = member.external_attr >> 28  # of a Unix file mode: 8 is a plain file, 10 a link, 0 not said
        if not _NAME(member.filename) or member.flag_bits & 1 or kind not in (0, 8):
            raise BadPackage(f"{member.filename[:80]!r} has no place in a package")
    names = {member.filename for member in members}
    if len(names) < len(members) or not names >= NEEDED:
        raise BadPackage("a file is in it twice, or __init__.py or __main__.py is not in it")
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise BadPackage(f"it has more than {MAX_UNPACKED} bytes unpacked")
