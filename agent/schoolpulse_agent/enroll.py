"""The conversation with the centre that gives a machine its identity, over HTTPS.

Whom to trust is in the enrolment token: the fingerprint of the centre's CA certificate. That certificate is fetched
without trust and compared with it; the token is sent only over TLS that this CA or the system's verify.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import ssl
import time
from dataclasses import asdict, dataclass
from typing import Any

from schoolpulse_agent import centre, identity, rules, settings, tls
from schoolpulse_agent.centre import EnrolFailed

_TOKEN = re.compile(r"spe_[A-Za-z0-9_-]{32}\.([0-9a-f]{64})", re.ASCII).fullmatch
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL).search
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch
UNSENT, UNSENT_VI = "the token was not sent", "mã đăng ký chưa bị gửi đi"
TELL, TELL_VI = "tell the centre", "hãy báo trung tâm"


@dataclass(frozen=True)
class Answer:
    """What the centre says this machine is from now on."""

    device: str
    secret: str
    school: str
    room: str | None
    name: str
    broker: str  # URL
    ca: str  # PEM
    certificate: str | None  # PEM


@dataclass(frozen=True)
class Request:
    """A new private key and the request to certify it, both PEM."""

    key: str
    csr: str


def split_link(text: str) -> tuple[str, str]:
    """URL and token of the link in a QR code, ``https://host:port/enrol#spe_...``. Raises EnrolFailed."""
    url, mark, token = text.strip().partition("#")
    if not mark or not url.endswith("/enrol"):
        form = "https://host:port/enrol#spe_..."
        raise EnrolFailed(
            f"give URL and TOKEN, or the link of the form {form}",
            f"nhập URL và TOKEN, hoặc cả liên kết theo dạng {form}",
            False,
        )
    return url[: -len("/enrol")], token


def enroll(
    url: str,
    token: str,
    hardware: identity.Hardware,
    name: str = "",
    request: Request | None = None,
    known: settings.Settings | None = None,
) -> Answer:
    """Spend a token. Raises EnrolFailed; the token is never sent to anyone whom it does not name.

    ``known``: the identity that this machine has; proven to the centre, it stays the same.
    """
    said = _TOKEN(token)
    if not said:
        raise EnrolFailed(
            "this is not a whole token (spe_ and 97 more characters): copy it again",
            "mã đăng ký không đủ (phải là spe_ và 97 ký tự nữa): chép lại mã",
            False,
        )
    url, now = _checked(url), int(time.time() * 1000)
    ca = _ca(url, said[1])
    body = {"token": token, "hardware": asdict(hardware), **({"name": name} if name else {}), **_csr(request)}
    if known and known.device.id:
        with contextlib.suppress(settings.SettingsError):  # lost: its hardware may still tell who it is
            body.update(previous=known.device.id, proof=known.secret())
    answer = _answer(centre.post(url, "enrol", body, tls.trusting(ca, now)), request)
    if not hmac.compare_digest(_fingerprint(answer.ca), said[1]):
        raise EnrolFailed(
            f"the centre answered with another CA certificate than its token names: {TELL}",
            f"trung tâm trả lời bằng chứng thư CA khác với mã đăng ký: {TELL_VI}",
            False,
        )
    return answer


def rekey(
    url: str,
    device: str,
    secret: str,
    hardware: identity.Hardware,
    ca: str | None,
    now: int,
    request: Request | None = None,
) -> Answer:
    """Ask whether this machine gets an identity of its own: the one it has, anew, or another. Raises EnrolFailed.

    ``ca``: PEM that is trusted beside the system's CAs; ``now``: UTC milliseconds as far as they are known.
    """
    body = {"device": device, "secret": secret, "hardware": asdict(hardware), **_csr(request)}
    return _answer(centre.post(_checked(url), "rekey", body, tls.trusting(ca, now)), request)


def renew(url: str, device: str, secret: str, ca: str | None, now: int, request: Request) -> str:
    """Ask for a new certificate; return it as PEM. Raises EnrolFailed. Arguments as `rekey`."""
    body = {"device": device, "secret": secret, **_csr(request)}
    said = centre.post(_checked(url), "renew", body, tls.trusting(ca, now))
    return _own(said.get("certificate"), request)


def new_request() -> Request:
    """A fresh P-256 key. Raises EnrolFailed without the extra [mtls]. The centre ignores the request's subject."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        hint = "pip install 'schoolpulse-agent[mtls]'"
        raise EnrolFailed(
            f"certificates need the package cryptography: {hint}, or enrol without one",
            f"muốn có chứng thư phải cài gói cryptography: {hint}, hoặc đăng ký không dùng --certificate",
            False,
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Request(key.private_bytes(pem, form, plain).decode(), csr.public_bytes(pem).decode())


def _checked(url: str) -> str:
    url = url.rstrip("/")
    if not rules.is_centre(url):
        raise EnrolFailed(
            f"{url!r} is no centre's address: give it as https://host:port",
            f"{url!r} không phải địa chỉ trung tâm: viết theo dạng https://host:port",
            False,
        )
    return url


def _csr(request: Request | None) -> dict[str, str]:
    return {"csr": request.csr} if request else {}


def _ca(url: str, fingerprint: str) -> str:
    """The centre's CA certificate, fetched from anybody and taken only if the token names it."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    status, _, body = centre.ask(url, "GET", "/ca.pem", None, blind)
    if status != 200:
        said = f"{url}/ca.pem: HTTP {status}"
        raise EnrolFailed(
            f"{said}: {centre.HERE} {UNSENT}", f"{said}: {centre.HERE_VI} {UNSENT_VI}", status >= 500, status
        )
    try:
        pem = _pem(body.decode("ascii"))
    except (EnrolFailed, UnicodeDecodeError):
        raise EnrolFailed(
            f"{url}/ca.pem is no certificate: {centre.HERE} {UNSENT}",
            f"{url}/ca.pem không phải chứng thư: {centre.HERE_VI} {UNSENT_VI}",
            False,
        ) from None
    found = _fingerprint(pem)
    if not hmac.compare_digest(found, fingerprint):
        shown = [f"{each[:8]}...{each[-8:]}" for each in (found, fingerprint)]
        raise EnrolFailed(
            f"{url} is not the centre of this token (its CA has the fingerprint {shown[0]}, the token says "
            f"{shown[1]}): check the address and ask the centre whether its CA is new; {UNSENT}",
            f"{url} không phải trung tâm của mã đăng ký này (CA có dấu vân tay {shown[0]}, mã ghi "
            f"{shown[1]}): kiểm tra địa chỉ và hỏi trung tâm có đổi CA không; {UNSENT_VI}",
            False,
        )
    return pem


def _fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _pem(said: object) -> str:
    """The first certificate in a text, as PEM that OpenSSL takes. Raises EnrolFailed."""
    try:
        found = _CERTIFICATE(str(said))
        pem = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(found[0])) if found else ""
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ValueError, ssl.SSLError):
        raise EnrolFailed(
            f"the centre's answer holds no certificate where there must be one: {TELL}",
            f"câu trả lời của trung tâm thiếu chứng thư: {TELL_VI}",
            False,
        ) from None
    return pem


def _own(said: object, request: Request) -> str:
    """A certificate that is for the key of this request. Raises EnrolFailed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    pem = _pem(said)
    given = x509.load_pem_x509_certificate(pem.encode()).public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if given.public_bytes(*form) != x509.load_pem_x509_csr(request.csr.encode()).public_key().public_bytes(*form):
        raise EnrolFailed(
            f"the centre's certificate is for another key: {TELL}",
            f"chứng thư trung tâm cấp là của khóa khác: {TELL_VI}",
            False,
        )
    return pem


def _answer(said: dict[str, Any], request: Request | None) -> Answer:
    """Judge an answer as a whole before anything of it is written. Raises EnrolFailed."""
    broker = said.get("broker")
    url = broker.get("url") if isinstance(broker, dict) else None
    keys = [said.get("device"), said.get("school")]
    texts = {name: said.get(name) for name in ("secret", "room", "name")}
    texts = {name: "" if value is None and name != "secret" else value for name, value in texts.items()}
    sound = all(isinstance(key, str) and _KEY(key) for key in keys) and isinstance(url, str) and url.isprintable()
    if (
        not sound
        or not all(isinstance(text, str) and text.isprintable() for text in texts.values())
        or not texts["secret"]
    ):
        raise EnrolFailed(
            "the centre's answer is not what this agent understands: update the agent or the centre",
            "phần mềm này không hiểu câu trả lời của trung tâm: cập nhật phần mềm hoặc trung tâm",
            False,
        )
    where = "the centre's answer"
    try:
        settings.parse({"broker": {"url": url}}, where)
    except settings.SettingsError as why:
        vi = why.vi.replace(where, "câu trả lời của trung tâm")
        raise EnrolFailed(f"{why}: {TELL}", f"{vi}: {TELL_VI}", False) from None
    certificate = said.get("certificate")
    return Answer(
        device=str(keys[0]),
        secret=str(texts["secret"]).strip(),
        school=str(keys[1]),
        room=texts["room"] or None,
        name=str(texts["name"]),
        broker=str(url),
        ca=_pem(said.get("ca")),
        certificate=_own(certificate, request) if certificate and request else None,
    )
