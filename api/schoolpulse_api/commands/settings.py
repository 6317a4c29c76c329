"""Print every setting, with what it means and its default, as a sample file."""

from __future__ import annotations

import argparse
import json

from schoolpulse_api.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_args: argparse.Namespace, _settings: Settings) -> int:
    """Good as a schoolpulse.toml."""
    for name, field in Settings.model_fields.items():
        default = field.default if isinstance(field.default, int | float) else str(field.default)
        print(f"# {field.description}; or SP_{name.upper()}\n# {name} = {json.dumps(default, ensure_ascii=False)}\n")
    return 0
