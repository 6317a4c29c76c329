"""The demo: this machine's real agent in a fictional school, and beside it a simulated lab of 40 PCs."""

from __future__ import annotations

import hashlib
import logging
from typing import NamedTuple

from schoolpulse_agent import agent
from schoolpulse_agent import settings as agent_settings
from schoolpulse_agent.link import Link
from schoolpulse_agent.outbox import Outbox
from schoolpulse_agent.wallclock import WallClock
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Registry
from schoolpulse_collector.registry.model import Room, School
from schoolpulse_collector.simulate import LabPC

SCHOOL = School(key="demo", name="THCS Lạc Hồng (trường giả định)")
SERVER_ROOM = Room(key="demo-may-chu", school="demo", name="Phòng máy chủ")
LAB = Room(key="demo-phong-may-1", school="demo", name="Phòng máy 1")
LAB_PCS = 40
OWN_INTERVAL, LAB_INTERVAL = 5.0, 10.0  # seconds; a school's real agents report every 60


class Member(NamedTuple):
    """A device of the demo and its secret; ``number`` is 0 for this machine itself."""

    id: str
    secret: str
    number: int


def fill(registry: Registry) -> list[Member]:
    """Put school, rooms and devices into the registry; every start gives the devices new secrets."""
    registry.put(SCHOOL, SERVER_ROOM, LAB)
    own = _id("this machine")
    members = [Member(own, registry.enrol(own, SCHOOL.key, SERVER_ROOM.key, "Máy chủ (máy này)", "server"), 0)]
    for number in range(1, LAB_PCS + 1):
        pc, name = _id(f"lab {number}"), f"PC-{number:02d}"
        members.append(Member(pc, registry.enrol(pc, SCHOOL.key, LAB.key, name, "lab_pc", simulated=True), number))
    return members


def agents(members: list[Member], settings: Settings) -> list[agent.Agent]:
    """The agents of these devices: the real one as any school runs it, the simulated with made-up readings."""
    logging.getLogger("schoolpulse_agent.link").setLevel(logging.ERROR)  # 41 hellos and goodbyes say little
    return [_agent(member, settings) for member in members]


def _agent(member: Member, settings: Settings) -> agent.Agent:
    document = {
        "device": {"id": member.id, "school": SCHOOL.key, "secret": member.secret},
        "broker": {"url": f"mqtt://127.0.0.1:{settings.mqtt_port}"},
        "reports": {
            "interval": LAB_INTERVAL if member.number else OWN_INTERVAL,
            "folder": str(settings.home / "agents" / member.id),
            "replay_spread": 2,
            "replay_rate": 10,
        },
        "probe": {"disk": {"every": 0}},  # so that its chart has a line before five minutes have passed
    }
    own = agent_settings.parse(document, "demo")
    if not member.number:
        return agent.build(own, alone=False)
    outbox = Outbox(settings.home / "agents" / member.id)
    return agent.Agent(LabPC(member.number).read, outbox, Link(own, outbox, WallClock()), LAB_INTERVAL)


def _id(name: str) -> str:
    return "d" + hashlib.sha256(f"schoolpulse demo: {name}".encode()).hexdigest()[:16]
