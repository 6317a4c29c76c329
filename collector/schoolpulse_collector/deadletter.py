"""What was refused, on disk for a person to look at: JSON lines, the newest two files of a bounded size."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from schoolpulse_agent import segment

SHOWN = 4096  # bytes or letters of a refused thing that are kept


class Letter(NamedTuple):
    """One refused report or message."""

    topic: str
    reason: str
    content: object  # bytes as they came, or a report that could be read


class DeadLetters:
    """``dead-letters.jsonl`` and the one before it. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int = 5 * 2**20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "dead-letters.jsonl"
        self._before = folder / "dead-letters.1.jsonl"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def append(self, letters: Sequence[Letter]) -> None:
        """Keep letters, durable when it returns. Raises OSError."""
        if not letters:
            return
        with self._lock:
            if self.path.exists() and self.path.stat().st_size > self._max_bytes:
                self.path.replace(self._before)
            fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                segment.write(fd, b"".join(_line(letter) for letter in letters))
                os.fdatasync(fd)
            finally:
                os.close(fd)


def _line(letter: Letter) -> bytes:
    row: dict[str, object] = {"at": int(time.time() * 1000), "topic": letter.topic[:200], "reason": letter.reason}
    if isinstance(letter.content, bytes):
        row["base64"] = base64.b64encode(letter.content[:SHOWN]).decode()
        row["bytes"] = len(letter.content)
    else:
        try:
            row["report"] = repr(letter.content)[:SHOWN]  # may hold NaN or what JSON has no word for
        except RecursionError:
            row["report"] = "nested too deep to be shown"
    return json.dumps(row).encode() + b"\n"
