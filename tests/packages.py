"""Packages of the agent for tests: made of the real source, with another version, other times or a fault in them."""

from __future__ import annotations

import shutil
from pathlib import Path

from schoolpulse_agent.package import Manifest
from schoolpulse_collector import signing

SOURCE = Path(signing.schoolpulse_agent.__file__).parent
# What takes minutes takes seconds.
HASTE = {
    "update.py": {
        "SPREAD = (0.0, 600.0)": "SPREAD = (0.0, 0.0)",
        "BACK = (0.0, 60.0)": "BACK = (0.0, 0.0)",
        "AGAIN = (3600.0, 7200.0)": "AGAIN = (1.0, 1.0)",
        "TRIAL = 300.0": "TRIAL = 2.0",
        "ALONE = 3600.0": "ALONE = 4.0",
    }
}
Edits = dict[str, dict[str, str]]  # file -> what stands there -> what is to stand there


class Maker:
    """Makes and signs packages in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.public = signing.new_key(folder / "key.pem")

    def make(self, version: str, edits: Edits | None = None, key: Path | None = None) -> tuple[Manifest, bytes]:
        """A signed package."""
        source = self.folder / f"source-{version}"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        stated = next(line for line in (SOURCE / "__init__.py").read_text().splitlines() if "__version__" in line)
        renamed = {"__init__.py": {stated: f'__version__ = "{version}"'}}
        for each in (renamed, HASTE, edits or {}):
            for name, pairs in each.items():
                text = (source / name).read_text()
                for old, new in pairs.items():
                    assert text.count(old) == 1, (name, old)
                    text = text.replace(old, new)
                (source / name).write_text(text)
        made = signing.build(self.folder, source)
        return signing.sign(key or self.folder / "key.pem", made), made.read_bytes()
