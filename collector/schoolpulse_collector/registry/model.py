"""The registry's tables.

Keys never change and never mean anything; names may change at any time, and rewrite no measurement. Instants are UTC
milliseconds, dates ISO text; secrets are kept as hashes only.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Key = String(64)
Hash = String(64)  # SHA-256 in hex; enough for 256 random bits, which need no salt
Name = String(200)
Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only a plain integer by itself


class Base(DeclarativeBase):
    """All tables."""


class School(Base):
    """A school: ``key`` is what topics and stored samples carry."""

    __tablename__ = "school"
    key: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    code: Mapped[str] = mapped_column(Key, default="")  # official code in the sector's database
    level: Mapped[str] = mapped_column(String(16), default="")  # mam_non, tieu_hoc, thcs, thpt, gdtx or empty
    address: Mapped[str] = mapped_column(String(300), default="")
    latitude: Mapped[float | None] = mapped_column(default=None)  # degrees, WGS 84
    longitude: Mapped[float | None] = mapped_column(default=None)
    isp: Mapped[str] = mapped_column(String(64), default="")
    merged_into: Mapped[str | None] = mapped_column(Key, default=None)  # the school that took it over


class Unit(Base):
    """A city, ward, cluster, department ...; ``parent`` is a unit too, and there are no circles."""

    __tablename__ = "unit"
    key: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(String(16))  # city, department, ward, cluster, district (a former one), other
    parent: Mapped[str | None] = mapped_column(ForeignKey("unit.key"), index=True, default=None)


class Membership(Base):
    """A school belongs to a unit from a day on, up to and without another; both empty: always did, still does."""

    __tablename__ = "membership"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    unit: Mapped[str] = mapped_column(ForeignKey("unit.key"), index=True)
    valid_from: Mapped[str] = mapped_column(String(10), default="")
    valid_to: Mapped[str] = mapped_column(String(10), default="")
    __table_args__ = (UniqueConstraint("school", "unit", "valid_from"),)


class Room(Base):
    """A room of a school."""

    __tablename__ = "room"
    key: Mapped[str] = mapped_column(Key, primary_key=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    name: Mapped[str] = mapped_column(Name)


class Device(Base):
    """A machine that reports. ``kind``: server, lab_pc ...; ``status``: active, revoked or retired."""

    __tablename__ = "device"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    room: Mapped[str | None] = mapped_column(ForeignKey("room.key"), index=True)
    name: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default="active")
    simulated: Mapped[bool] = mapped_column(default=False)
    secret_hash: Mapped[str] = mapped_column(String(128), default="")  # as `credential.py` makes it
    changed: Mapped[int] = mapped_column(BigInteger, index=True)  # of the last change, for those who follow
    asset_code: Mapped[str] = mapped_column(Key, default="")  # the label that people stick on it
    smbios_uuid: Mapped[str] = mapped_column(String(36), index=True, default="")  # lower case; empty: none that is one
    macs: Mapped[str] = mapped_column(String(300), default="")  # built-in network cards, sorted, joined by commas
    hardware: Mapped[str] = mapped_column(String(16), default="")  # the fingerprint its hellos show
    enrolled: Mapped[int] = mapped_column(BigInteger, default=0)
    certificate: Mapped[str] = mapped_column(String(40), default="")  # serial number in hex of the one that is good
    cloned_from: Mapped[str] = mapped_column(String(64), default="")  # the device whose image this machine carried
    rekey_until: Mapped[int] = mapped_column(BigInteger, default=0)  # machines with this secret may ask for their own
    rekey_uses: Mapped[int] = mapped_column(default=0)  # how many more of them
    rekey_hash: Mapped[str] = mapped_column(String(128), default="")  # the secret that they have


class Sighting(Base):
    """A device id heard from a machine that it was not given to. ``hardware``: that machine's fingerprint."""

    __tablename__ = "sighting"
    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    hardware: Mapped[str] = mapped_column(String(16), primary_key=True)
    first: Mapped[int] = mapped_column(BigInteger)
    last: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int] = mapped_column(default=1)


class RevokedCertificate(Base):
    """A certificate that must not be accepted any more: the list a broker is given."""

    __tablename__ = "revoked_certificate"
    serial: Mapped[str] = mapped_column(String(40), primary_key=True)  # hex
    device: Mapped[str] = mapped_column(String(64), index=True)
    revoked: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int] = mapped_column(BigInteger)  # then it may leave the list


class EnrolmentToken(Base):
    """Lets machines of one school enrol: so many, until then."""

    __tablename__ = "enrolment_token"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    hash: Mapped[str] = mapped_column(Hash, unique=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    room: Mapped[str | None] = mapped_column(ForeignKey("room.key"), default=None)
    kind: Mapped[str] = mapped_column(String(32), default="lab_pc")
    label: Mapped[str] = mapped_column(Name, default="")
    uses: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)
    expires: Mapped[int] = mapped_column(BigInteger)
    revoked: Mapped[bool] = mapped_column(default=False)
    created: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Name)


class Person(Base):
    """Somebody who signs in: by password, or through an OpenID Connect provider, or both."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    login: Mapped[str] = mapped_column(Key, unique=True)  # lower case
    name: Mapped[str] = mapped_column(Name)
    password_hash: Mapped[str] = mapped_column(String(200), default="")  # argon2id; empty: no password
    totp_secret: Mapped[str] = mapped_column(String(64), default="")  # must be readable to check a code
    totp_last: Mapped[int] = mapped_column(BigInteger, default=0)  # 30 s step of the last code, good once only
    issuer: Mapped[str] = mapped_column(String(200), default="")  # OpenID Connect: who vouches ...
    subject: Mapped[str] = mapped_column(String(200), default="")  # ... for whom
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (Index("person_oidc", "issuer", "subject"),)


class ApiToken(Base):
    """What a program shows; may do what its grants say."""

    __tablename__ = "api_token"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    hash: Mapped[str] = mapped_column(Hash, unique=True)
    label: Mapped[str] = mapped_column(Name)
    created: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Name)
    expires: Mapped[int | None] = mapped_column(BigInteger)  # None: until revoked
    last_used: Mapped[int] = mapped_column(BigInteger, default=0)  # to the minute
    revoked: Mapped[bool] = mapped_column(default=False)


class Grant(Base):
    """A person or token may act in a role: in a unit and all below it, or a school, or (neither named) everywhere."""

    __tablename__ = "grant_"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    person: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    token: Mapped[int | None] = mapped_column(ForeignKey("api_token.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    unit: Mapped[str | None] = mapped_column(ForeignKey("unit.key"))
    school: Mapped[str | None] = mapped_column(ForeignKey("school.key"))
    source: Mapped[str] = mapped_column(String(8), default="local")  # local or oidc: the latter follow the provider
    __table_args__ = (
        CheckConstraint("(person is null) <> (token is null)", "somebody"),
        CheckConstraint("unit is null or school is null", "one_place"),
    )


class Inventory(Base):
    """What a device is made of and runs, as it said last. Its `os` stands beside, to be counted."""

    __tablename__ = "inventory"
    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    hash: Mapped[str] = mapped_column(String(16))
    parts: Mapped[str] = mapped_column(Text)  # JSON, as `schoolpulse_agent.parts`
    since: Mapped[int] = mapped_column(BigInteger)  # it has been so ...
    seen: Mapped[int] = mapped_column(BigInteger)  # ... and was last said to be so
    os_id: Mapped[str] = mapped_column(Name, default="")
    os_version: Mapped[str] = mapped_column(Name, default="")
    os_release: Mapped[str] = mapped_column(Name, default="")
    os_name: Mapped[str] = mapped_column(Name, default="")


class InventoryChange(Base):
    """One difference between two inventories of a device. No part of the audit: nobody did it by way of the centre."""

    __tablename__ = "inventory_change"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    device: Mapped[str] = mapped_column(ForeignKey("device.id"), index=True)
    t: Mapped[int] = mapped_column(BigInteger)
    what: Mapped[str] = mapped_column(String(8))  # added, removed, changed, or machine: the id is on other hardware
    part: Mapped[str] = mapped_column(Text)  # as `memory,slot=DIMM1`
    field: Mapped[str] = mapped_column(Key, default="")  # empty: the part as a whole
    before: Mapped[str] = mapped_column(Text)  # JSON
    after: Mapped[str] = mapped_column(Text)


class Agent(Base):
    """What a device's agent said in its newest hello: its version, the configuration it follows, what it refused."""

    __tablename__ = "agent"
    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    version: Mapped[str] = mapped_column(Name)
    config: Mapped[str] = mapped_column(Name, default="")
    refused: Mapped[str] = mapped_column(Name, default="")  # as in `wire.Presence`
    changed: Mapped[int] = mapped_column(BigInteger)


class Configuration(Base):
    """What the centre wants of the agents of one place, perhaps of one kind of device only (`configuration.py`)."""

    __tablename__ = "configuration"
    scope: Mapped[str] = mapped_column(String(8), primary_key=True)  # centre, unit, school, room or device
    key: Mapped[str] = mapped_column(Key, primary_key=True)  # of that place; the centre has none
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)  # of the devices; empty: all
    settings: Mapped[str] = mapped_column(Text)  # JSON: sections and keys as in agent.toml
    changed: Mapped[int] = mapped_column(BigInteger)
    changed_by: Mapped[str] = mapped_column(Name)


class Rollout(Base):
    """A version of the agent on its way to the schools, in waves (`waves.py`), and what is signed of its package."""

    __tablename__ = "rollout"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    version: Mapped[str] = mapped_column(String(32), unique=True)
    sha256: Mapped[str] = mapped_column(Hash)
    size: Mapped[int]
    python: Mapped[str] = mapped_column(String(8))
    signature: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16))  # running, paused, done or withdrawn
    waves: Mapped[str] = mapped_column(Text)  # JSON: percent of all schools
    pilots: Mapped[str] = mapped_column(Text)  # JSON: keys of schools that come first
    wave: Mapped[int]
    since: Mapped[int] = mapped_column(BigInteger)  # of this wave and state
    hours: Mapped[float]
    why: Mapped[str] = mapped_column(Text, default="")  # it stopped
    started: Mapped[int] = mapped_column(BigInteger)
    started_by: Mapped[str] = mapped_column(Name)


class Login(Base):
    """A browser's session. ``stage``: full, or what is still wanted of this person: code or setup."""

    __tablename__ = "login"
    hash: Mapped[str] = mapped_column(Hash, primary_key=True)
    person: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    stage: Mapped[str] = mapped_column(String(8), default="full")
    created: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int] = mapped_column(BigInteger, index=True)
    agent: Mapped[str] = mapped_column(Name, default="")  # the browser's own name, to tell sessions apart


class Link(Base):
    """A one-time link that signs one person in."""

    __tablename__ = "link"
    hash: Mapped[str] = mapped_column(Hash, primary_key=True)
    person: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    expires: Mapped[int] = mapped_column(BigInteger)


class Audit(Base):
    """One change: who did what to what, and the chain's hash. Rows are never changed or deleted (`audit.py`)."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    t: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(Name)  # person:login, token:label, device:id or system
    action: Mapped[str] = mapped_column(String(64), index=True)  # device.revoke, school.rename ...
    subject: Mapped[str] = mapped_column(String(200), index=True)  # kind:key
    school: Mapped[str] = mapped_column(Key, index=True, default="")  # whose people may read it; empty: the centre's
    detail: Mapped[str] = mapped_column(Text)  # JSON: what was before and is now
    hash: Mapped[str] = mapped_column(Hash)


class AuditHead(Base):
    """The chain's end; its one row is locked while another is added."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(Hash)
