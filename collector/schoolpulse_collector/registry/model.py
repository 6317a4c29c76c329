"""The registry's tables: schools, rooms, devices, tokens.

Keys never change and never mean anything; names may change at any time, and rewrite no measurement.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""


class School(Base):
    """A school: ``key`` is what topics and stored samples carry."""

    __tablename__ = "school"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))


class Room(Base):
    """A room of a school."""

    __tablename__ = "room"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    name: Mapped[str] = mapped_column(String(200))


class Device(Base):
    """A machine that reports. ``kind``: server, lab_pc ...; ``status``: active or revoked."""

    __tablename__ = "device"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    school: Mapped[str] = mapped_column(ForeignKey("school.key"), index=True)
    room: Mapped[str] = mapped_column(ForeignKey("room.key"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default="active")
    simulated: Mapped[bool] = mapped_column(default=False)
    secret_hash: Mapped[str] = mapped_column(String(64), default="")  # SHA-256 of 256 random bits: needs no salt
    changed: Mapped[int] = mapped_column(
        BigInteger, index=True
    )  # UTC milliseconds of the last change, for those who follow


class Token(Base):
    """A secret that a person or program shows to the API, kept as its hash. ``purpose``: api, sign_in or session."""

    __tablename__ = "token"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(String(200))
    expires: Mapped[int | None] = mapped_column(BigInteger)  # UTC milliseconds; None: until revoked
