"""How long programs had to wait for the processor, memory or disks: Linux's pressure stall information (PSI)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from schoolpulse_agent import proc
from schoolpulse_agent.probe import Metric, Reading, Tag, Why

METRICS = {
    ("pressure", "avg60"): Metric(
        "%",
        "Time programs had to wait, of the last minute",
        "Thời gian chương trình phải chờ trong phút qua",
        "2.5",
    ),
}
TAGS = {
    ("pressure", "resource"): Tag("What they waited for", "Chờ tài nguyên nào", "memory"),
    ("pressure", "type"): Tag("Some programs waited, or all", "Một số (some) hay tất cả (full) phải chờ", "some"),
}
WHY = Why(
    "Shows what a slow machine is short of: processor, memory or disk.",
    "Cho biết máy chậm vì thiếu gì: CPU, bộ nhớ RAM hay ổ đĩa.",
)
RESOURCES = ("cpu", "io", "memory")


def parse(text: bytes) -> dict[str, float]:
    """``avg60`` by type, of a file in /proc/pressure (Documentation/accounting/psi.rst)."""
    found = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(b" ")
        for word in rest.split():
            name, _, value = word.partition(b"=")
            if name == b"avg60" and value.replace(b".", b"", 1).isdigit():
                found[kind.decode("ascii", "replace")] = float(value)
    return found


@dataclass
class Probe:
    """Every resource; nothing where the kernel does not count it (before 4.20, or switched off)."""

    every: float = 0.0
    _lacking: bool = field(default=False, init=False, repr=False)

    def read(self) -> Iterator[Reading]:
        """Yield one reading a resource and type. Of the processor only ``some``: that all wait for it can't be."""
        if not proc.LINUX or self._lacking:
            return
        for resource in RESOURCES:
            try:
                said = parse(proc.read(f"/proc/pressure/{resource}"))
            except OSError:
                self._lacking = True  # till the next start: kernels don't change
                return
            for kind, share in said.items():
                if (resource, kind) != ("cpu", "full"):
                    yield Reading("pressure", {"resource": resource, "type": kind}, {"avg60": share})
