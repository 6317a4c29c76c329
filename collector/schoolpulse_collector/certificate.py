"""X.509 as the centre's authority uses it: P-256 keys, names, extensions, PEM. Profile: RFC 5280."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

BACK = timedelta(days=1)  # valid since: the other machine's clock may be set to another zone's time
CSR_CHARACTERS = 8192
NAME_CHARACTERS = 64  # ub-common-name, ub-organization-name


class BadRequest(Exception):
    """A certificate was asked for in a way that it is not given; the message says why. A retry can't help."""


def new_key() -> Key:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def requested_key(csr_pem: str) -> PublicKey:
    """The key of a certificate request, whose owner has signed it. Raises BadRequest unless it is a P-256 key."""
    if len(csr_pem) > CSR_CHARACTERS:
        raise BadRequest("csr: too long")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadRequest("csr: its key must be an ECDSA key on the curve P-256 (secp256r1, prime256v1)")
        if not request.is_signature_valid:
            raise BadRequest("csr: its signature is not by its key")
    except (ValueError, TypeError, UnsupportedAlgorithm) as why:
        raise BadRequest("csr: not a certificate request (PKCS #10) in PEM") from why
    return key


def name(common: str, organisation: str = "") -> x509.Name:
    """A distinguished name; an organisation that is too long for one is cut. Raises ValueError."""
    parts = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organisation[:NAME_CHARACTERS])] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def general_name(host: str) -> x509.GeneralName:
    """How a server's certificate says a host name or an IP address. Raises ValueError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode())  # UnicodeError is a ValueError


def builder(
    subject: x509.Name, issuer: x509.Name, signer: Key, public: PublicKey, now: datetime, until: datetime, *, ca: bool
) -> x509.CertificateBuilder:
    """What every certificate has: names, a random serial number, dates, whose key it is and what the key may sign."""
    usage = {"content_commitment", "key_encipherment", "data_encipherment", "key_agreement"}
    usage |= {"encipher_only", "decipher_only"}
    may_sign = x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **dict.fromkeys(usage, False))
    return (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), now - BACK, until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(may_sign, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def crl(issuer: x509.Name, signer: Key, now: datetime, until: datetime, serials: dict[int, datetime]) -> str:
    """A list of revoked certificates as PEM: serial numbers, and since when."""
    key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    number = x509.CRLNumber(int(now.timestamp() * 1000))  # grows with each list
    built = x509.CertificateRevocationListBuilder(issuer, now - BACK, until)
    built = built.add_extension(number, critical=False).add_extension(key, critical=False)
    for serial, since in serials.items():
        entry = x509.RevokedCertificateBuilder(serial, since)
        built = built.add_revoked_certificate(entry.build())
    return built.sign(signer, SHA256()).public_bytes(Encoding.PEM).decode()


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem(key: Key) -> str:
    """A key as text, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def read(path: Path) -> x509.Certificate:
    """The certificate in a file. Raises OSError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as why:
        raise OSError(f"{path} is not a certificate in PEM: bring it back from a backup") from why


def read_key(path: Path) -> Key:
    """The P-256 key in a file. Raises OSError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as why:
        raise OSError(f"{path} is not a key in PEM: bring it back from a backup") from why
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise OSError(f"{path} is not an ECDSA key: bring it back from a backup")
    return key
