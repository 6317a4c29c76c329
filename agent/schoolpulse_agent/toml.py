"""Reads TOML: with the standard library, before Python 3.11 with tomli. Import it where it is used: it is used once."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError
loads = tomllib.loads
