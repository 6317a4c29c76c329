"""How machines get their identity: ``/ca.pem``, ``/api/v1/enrol``, ``/api/v1/rekey``, ``/api/v1/renew``.

Whoever shows no token or secret that is good gets one same answer, whatever was wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, StringConstraints

from schoolpulse_api import brokers
from schoolpulse_api.browser import network
from schoolpulse_api.centre import Centre
from schoolpulse_api.fields import Key
from schoolpulse_api.refusals import documented, not_json
from schoolpulse_api.tries import Tries
from schoolpulse_collector.registry import Change, enrolment
from schoolpulse_collector.registry.enrolment import Enrolled, NotAdmitted
from schoolpulse_collector.registry.model import Device

Text = Annotated[str, StringConstraints(max_length=200)]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]
Csr = Annotated[str, StringConstraints(max_length=10_000)]


class HardwareIn(BaseModel):
    """What a machine says it is."""

    uuid: Uuid = ""
    serial: Text = ""
    manufacturer: Text = ""
    product: Text = ""
    macs: list[Mac] = Field([], max_length=16)
    fingerprint: Text = Field("", description="ignored: the centre computes it from the cards, or the UUID")

    def plain(self) -> enrolment.Hardware:
        """As the registry takes it."""
        return enrolment.Hardware(
            self.uuid, tuple(sorted(set(self.macs))), self.serial, self.manufacturer, self.product
        )


class EnrolIn(BaseModel):
    """A machine that shows a token. ``previous``, ``proof``: the device id and secret that it has, if it has any."""

    token: Text
    hardware: HardwareIn
    name: Text = ""
    previous: Text = ""
    proof: Text = ""
    csr: Csr | None = None


class RekeyIn(BaseModel):
    """A machine that shows the secret that it was copied with."""

    device: Key
    secret: Text
    hardware: HardwareIn
    csr: Csr | None = None


class RenewIn(BaseModel):
    """A device that wants a new certificate."""

    device: Key
    secret: Text
    csr: Csr


class BrokerOut(BaseModel):
    """Where to report to."""

    url: str


class EnrolOut(BaseModel):
    """A machine's identity. ``secret`` is shown only here."""

    device: str
    secret: str
    school: str
    room: str | None
    name: str
    broker: BrokerOut
    ca: str
    certificate: str | None


class CertificateOut(BaseModel):
    """A device's new certificate, PEM."""

    certificate: str


REFUSALS = documented(
    400, 413, 422, 503,
    _403="unknown, spent, expired or revoked: which, is not said",
    _429="too many tries; Retry-After says when",
)  # fmt: skip


def router(centre: Centre) -> APIRouter:
    """Routes for one centre."""
    made = APIRouter(tags=["enrolment"])
    tries = Tries()

    def answer(change: Change, found: Enrolled, csr: str | None, request: Request) -> EnrolOut:
        host = request.url.hostname or ""
        url = brokers.device_url(centre.settings, host, certificate=False)
        certificate = None
        if csr and centre.authority and (mutual := brokers.device_url(centre.settings, host, certificate=True)):
            certificate = enrolment.certify(change, found.device, centre.authority, csr)
            url = mutual
        row: Device = found.device
        return EnrolOut(
            device=row.id,
            secret=found.secret,
            school=row.school,
            room=row.room,
            name=row.name,
            broker=BrokerOut(url=url),
            ca=centre.authority.ca_pem if centre.authority else "",
            certificate=certificate,
        )

    @made.get("/ca.pem", summary="The centre's CA certificate", response_class=Response, responses={
        **not_json("text/plain"), **documented(_404="this centre has no CA: `schoolpulse init` makes it")
    })  # fmt: skip
    def ca() -> PlainTextResponse:
        if centre.authority is None:
            raise HTTPException(404, "this centre has no CA yet: `schoolpulse init` makes it")
        return PlainTextResponse(centre.authority.ca_pem)

    @made.post("/api/v1/enrol", status_code=201, summary="A token becomes a device's identity", responses=REFUSALS)
    def enrol(asked: EnrolIn, request: Request) -> EnrolOut:
        with _counted(tries, request), centre.registry.change("device:new") as change:
            found = enrolment.enrol(
                change,
                asked.token,
                asked.hardware.plain(),
                name=asked.name,
                previous=asked.previous,
                proof=asked.proof,
                online=lambda device: centre.presence.of(device).state == "online",
            )
            told = answer(change, found, asked.csr, request)
        centre.followed()
        return told

    @made.post("/api/v1/rekey", summary="A copied machine gets an identity of its own", responses=REFUSALS)
    def rekey(asked: RekeyIn, request: Request) -> EnrolOut:
        with _counted(tries, request), centre.registry.change("device:copy") as change:
            found = enrolment.rekey(change, asked.device, asked.secret, asked.hardware.plain())
            told = answer(change, found, asked.csr, request)
        centre.followed()
        return told

    @made.post("/api/v1/renew", summary="A new certificate for a device", responses=REFUSALS)
    def renew(asked: RenewIn, request: Request) -> CertificateOut:
        if centre.authority is None:
            raise HTTPException(400, "this centre gives no certificates")
        with _counted(tries, request), centre.registry.change("device:self") as change:
            row = enrolment.holder(change.session, asked.device, asked.secret)
            _stop(tries.wait("renewal", row.id))
            return CertificateOut(certificate=enrolment.certify(change, row, centre.authority, asked.csr))

    return made


@contextmanager
def _counted(tries: Tries, request: Request) -> Iterator[None]:
    """Run the block; count it if it is refused. Raises 429 when too much was refused before."""
    _stop(tries.full("enrolment", network(request)))
    try:
        yield
    except NotAdmitted:
        tries.wait("enrolment", network(request))
        raise


def _stop(seconds: int) -> None:
    if seconds:
        raise HTTPException(429, f"too many tries: wait {seconds} s", {"Retry-After": str(seconds)})
