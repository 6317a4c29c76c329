"""A centre for the agent's tests: real HTTPS, and every field of every message is checked against the contract."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HARDWARE = {"uuid", "serial", "manufacturer", "product", "macs", "fingerprint"}
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}").fullmatch
Reply = tuple[int, dict[str, str], bytes]


class FakeCentre:
    """``tokens``: spent when used. ``devices``: id -> secret. ``rekeys``: id -> the id that its next rekey gives."""

    def __init__(
        self, name: str = "localhost", ca: trustme.CA | None = None, shown: str | None = None, tls: bool = True
    ) -> None:
        self.ca = ca or trustme.CA()
        self.ca_pem = shown or self.ca.cert_pem.bytes().decode()  # what /ca.pem says
        der = ssl.PEM_cert_to_DER_cert(self.ca_pem)
        self.token = f"spe_{secrets.token_urlsafe(24)}.{hashlib.sha256(der).hexdigest()}"
        self.tokens, self.devices, self.rekeys = {self.token}, {"d1": "old"}, dict[str, str]()
        self.broker, self.certificates = "mqtts://localhost:8883", True
        self.asked: list[tuple[str, dict[str, Any]]] = []  # path and message, of all that were right
        self.wrong: list[str] = []  # what the contract does not allow
        self.received = b""  # every byte of every request
        self.instead: dict[str, Reply] = {}  # path -> an answer that is none of the contract's
        handler = type("Handler", (_Handler,), {"centre": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.handle_error = lambda *_: None  # who breaks off a handshake is part of the tests
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca.issue_cert(name).configure_cert(context)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        assert self.wrong == []

    def answer(self, path: str, body: bytes) -> Reply:
        if path in self.instead:
            return self.instead[path]
        if path == "/ca.pem":
            return 200, {"Content-Type": "text/plain"}, self.ca_pem.encode()
        ask: Callable[[dict[str, Any]], Reply] = getattr(self, "_" + path.removeprefix("/api/v1/"))
        try:
            said = json.loads(body)
            reply = ask(said)
            self.asked.append((path, said))
        except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as why:
            self.wrong.append(f"{path}: {type(why).__name__} {why} in {body!r}")
            return 422, {}, b'{"detail": "wrong"}'
        return reply

    def _enrol(self, said: dict[str, Any]) -> Reply:
        check(said, {"token", "hardware"}, {"csr", "name", "previous", "proof"})
        assert re.fullmatch(r"spe_[A-Za-z0-9_-]{32}\.[0-9a-f]{64}", said["token"])
        check_hardware(said["hardware"])
        assert "name" not in said or 0 < len(said["name"]) <= 64
        if said["token"] not in self.tokens:
            return _json(403, {"detail": "no"})
        self.tokens.discard(said["token"])
        return _json(201, self._identity("d" + secrets.token_hex(8), said.get("name", "PC"), said.get("csr")))

    def _rekey(self, said: dict[str, Any]) -> Reply:
        check(said, {"device", "secret", "hardware"}, {"csr"})
        check_hardware(said["hardware"])
        if self.devices.get(said["device"]) != said["secret"] or said["device"] not in self.rekeys:
            return _json(403, {"detail": "no"})
        return _json(200, self._identity(self.rekeys.pop(said["device"]), "PC", said.get("csr")))

    def _renew(self, said: dict[str, Any]) -> Reply:
        check(said, {"device", "secret", "csr"}, set())
        if self.devices.get(said["device"]) != said["secret"]:
            return _json(403, {"detail": "no"})
        return _json(200, {"certificate": self.certify(said["csr"], said["device"])})

    def _identity(self, device: str, name: str, csr: str | None) -> dict[str, Any]:
        self.devices[device] = secrets.token_urlsafe(32)
        certificate = self.certify(csr, device) if csr else None
        return {
            "device": device,
            "secret": self.devices[device],
            "school": "thcs-lac-hong",
            "room": "phong-may-1",
            "name": name,
            "broker": {"url": self.broker},
            "ca": self.ca.cert_pem.bytes().decode(),
            "certificate": certificate if self.certificates else None,
        }

    def certify(self, csr: str, device: str, age: float = 0, days: float = 400) -> str:
        """A device's certificate as the centre makes it, issued ``age`` days ago."""
        asked = x509.load_pem_x509_csr(csr.encode())
        key = asked.public_key()
        assert asked.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        first = datetime.now(UTC) - timedelta(days=age, minutes=1)
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        signer = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        made = x509.CertificateBuilder(
            issuer_name=issuer.subject,
            subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)]),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=first,
            not_valid_after=first + timedelta(days=days),
        ).sign(signer, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()


class _Handler(BaseHTTPRequestHandler):
    centre: FakeCentre

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        self._reply(self.rfile.read(int(self.headers["Content-Length"])))

    def _reply(self, body: bytes) -> None:
        self.centre.received += self.requestline.encode() + b"\n" + bytes(self.headers) + body
        status, headers, said = self.centre.answer(self.path, body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(said)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


def check(said: dict[str, Any], must: set[str], may: set[str]) -> None:
    assert must <= set(said) <= must | may, set(said)
    assert all(isinstance(value, str) for name, value in said.items() if name != "hardware")


def check_hardware(said: dict[str, Any]) -> None:
    assert set(said) == HARDWARE
    macs = said["macs"]
    assert macs == sorted(macs) and all(MAC(mac) and not int(mac[:2], 16) & 2 for mac in macs)
    assert all(isinstance(said[name], str) for name in HARDWARE - {"macs"})
    assert re.fullmatch(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?", said["uuid"])
    over = ",".join(macs) or said["uuid"]
    assert said["fingerprint"] == (hashlib.sha256(over.encode()).hexdigest()[:16] if over else "")


def _json(status: int, said: dict[str, Any]) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(said).encode()
