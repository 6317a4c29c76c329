"""Which reports of an outbox this machine measured itself, so that a new identity takes along these and no others.

A cloned disk holds its original's reports too; the original has them itself and sends them under its own name. A file
beside the reports says under which id, on which hardware and in which epochs they were measured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from schoolpulse_agent import keeping

log = logging.getLogger(__name__)
NAME = "origin.json"


@dataclass(frozen=True)
class Origin:
    """What the file says; ``epochs``: those begun on this hardware."""

    device: str = ""
    hardware: str = ""
    epochs: tuple[int, ...] = ()


def sort_out(folder: Path, device: str, hardware: str) -> Origin:
    """Call it before the outbox opens: after a change of identity, others' reports go into ``of-<their id>``, unsent.

    Returns what is known of this hardware. A fingerprint that is empty, now or then, tells no machines apart.
    """
    said = _read(folder / NAME)
    epochs = () if said.hardware and hardware and said.hardware != hardware else said.epochs
    if said.device and said.device != device:
        aside = folder / f"of-{said.device}"
        for path in [*folder.glob("*.seg"), *folder.glob("*.live")]:
            epoch = path.stem.rpartition("-")[2]
            if not (epoch.isdigit() and int(epoch) in epochs):
                aside.mkdir(exist_ok=True)
                path.replace(aside / path.name)
        if aside.exists():
            log.warning(
                "%s holds reports of device %s that another machine measured; they are not sent", aside, said.device
            )
    return Origin(device, hardware or said.hardware, epochs)


def note(folder: Path, origin: Origin, held: Iterable[int], epoch: int) -> None:
    """Write down that this hardware began an epoch; forget those of which nothing is held."""
    still = set(held)
    epochs = (*(each for each in origin.epochs if each in still), epoch)
    try:
        keeping.put(folder / NAME, json.dumps(asdict(Origin(origin.device, origin.hardware, epochs))))
    except OSError as why:  # then a new identity would set these reports aside
        log.warning("%s: %s", folder / NAME, why.strerror)


def _read(path: Path) -> Origin:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        device, hardware, epochs = said["device"], said["hardware"], said["epochs"]
        if isinstance(device, str) and isinstance(hardware, str) and "/" not in device:
            return Origin(device, hardware, tuple(map(int, epochs)))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        pass
    return Origin()
