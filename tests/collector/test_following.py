"""Following the registry: whatever goes wrong, who was revoked is cut off, and health tells of the trouble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from running import wait_until

from schoolpulse_collector.clones import Clones
from schoolpulse_collector.following import Following
from schoolpulse_collector.presence import Presence
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.roster import Roster, Sender


class Broken:
    """A broker whose program has a mistake, until it is mended."""

    def __init__(self) -> None:
        self.good, self.told, self.cut = False, list[str](), list[str]()

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def changed(self, senders: Sequence[Sender], cut: Sequence[str]) -> None:
        """Fail in a way that nobody foresaw."""
        if not self.good:
            raise KeyError("a mistake")
        self.told += [sender.id for sender in senders]
        self.cut += cut


def test_a_mistake_in_a_broker_neither_ends_the_following_nor_loses_a_cut(tmp_path: Path) -> None:
    registry, broker = Registry(f"sqlite:///{tmp_path}/registry.sqlite"), Broken()
    registry.put(School(key="s1", name="A"), Room(key="r1", school="s1", name="B"))
    registry.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
    roster = Roster(registry)
    following = Following(roster, broker, Presence(), Clones(registry, roster))
    following.start()
    try:
        wait_until(lambda: not following.works, 10, "it says that it does not work")
        registry.revoke("d1")
        wait_until(lambda: roster.get("d1") is None, 10, "it is known that d1 is revoked")
        assert following.is_alive()
        broker.good = True
        wait_until(lambda: broker.cut == ["d1"] and following.works, 10, "the cut that was owed")
    finally:
        following.stop()
        registry.close()


def test_a_new_secret_ends_what_came_in_with_the_old_one(tmp_path: Path) -> None:
    registry, broker = Registry(f"sqlite:///{tmp_path}/registry.sqlite"), Broken()
    registry.put(School(key="s1", name="A"), Room(key="r1", school="s1", name="B"))
    registry.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
    roster, broker.good = Roster(registry), True
    following = Following(roster, broker, Presence(), Clones(registry, roster))
    following.start()
    try:
        wait_until(lambda: broker.told == ["d1"], 10, "d1 is known")
        registry.enrol("d1", "s1", "r1", "PC-01", "lab_pc")
        wait_until(lambda: broker.cut == ["d1"], 10, "its connection is ended")
    finally:
        following.stop()
        registry.close()
