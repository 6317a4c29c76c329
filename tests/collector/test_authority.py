"""The centre's CA: what it signs is good for one purpose, for the key that asked, and until it is revoked or due."""

from __future__ import annotations

import hashlib
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from hypothesis import assume, given
from hypothesis import strategies as st

from schoolpulse_collector.authority import Authority, BadRequest

NAMES = ["broker.truong.example", "127.0.0.1", "::1"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "tls", "Sở Giáo dục và Đào tạo Hà Nội", NAMES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority") / "tls", "x", NAMES)


class Asking:
    """A device's key and its request, whose subject says what it likes."""

    def __init__(self, key=None, algorithm: object = SHA256(), subject: str = "collector") -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        built = x509.CertificateSigningRequestBuilder().subject_name(name)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.request = built.sign(self.key, algorithm)
        self.csr = self.request.public_bytes(serialization.Encoding.PEM).decode()

    def files(self, folder: Path, certificate: str) -> tuple[Path, Path]:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return written(folder, certificate, key.decode())


def written(folder: Path, certificate: str, key: str) -> tuple[Path, Path]:
    (folder / "c.pem").write_text(certificate)
    (folder / "c.key").write_text(key)
    return folder / "c.pem", folder / "c.key"


def greet(server: ssl.SSLContext, client: ssl.SSLContext, name: str = NAMES[0]) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A whole TLS handshake in memory. Raises ssl.SSLError as the side that refuses would."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name)]
    ends.append(server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[1], ends[0]


def server_side(authority: Authority, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate or authority.folder / "server.pem", key or authority.folder / "server.key")
    made.load_verify_locations(authority.folder / "ca.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def client_side(authority: Authority, certificate: Path, key: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.folder / "ca.pem"))
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_cert_chain(certificate, key)
    return made


def device_files(authority: Authority, folder: Path) -> tuple[Path, Path]:
    asking = Asking()
    return asking.files(folder, authority.device_certificate(asking.csr, "d1")[0])


@pytest.mark.parametrize("name", NAMES)
def test_server_and_device_verify_each_other_and_the_device_is_who_the_centre_said(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    client = client_side(authority, *device_files(authority, tmp_path))
    server, _ = greet(server_side(authority), client, name)
    assert server.getpeercert()["subject"] == ((("commonName", "d1"),),)


def test_a_server_is_refused_as_a_client(authority: Authority) -> None:
    client = client_side(authority, authority.folder / "server.pem", authority.folder / "server.key")
    with pytest.raises(ssl.SSLError, match=r"unsuitable certificate purpose|unsupported certificate purpose"):
        greet(server_side(authority), client)


def test_a_device_is_refused_as_a_server(authority: Authority, tmp_path: Path) -> None:
    certificate, key = device_files(authority, tmp_path)
    client = client_side(authority, authority.folder / "collector.pem", authority.folder / "collector.key")
    client.check_hostname = False
    with pytest.raises(ssl.SSLError, match=r"unsuitable certificate purpose|unsupported certificate purpose"):
        greet(server_side(authority, certificate, key), client)


def test_a_device_can_not_sign_for_others(authority: Authority, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(device_files(authority, tmp_path)[0].read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    own = x509.load_pem_x509_certificate(authority.ca_pem.encode())
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_the_subject_that_a_request_names_and_what_else_it_asks_for_does_not_count(authority: Authority) -> None:
    asking = Asking(subject="d2")
    pem, serial = authority.device_certificate(asking.csr, "d1")
    made = x509.load_pem_x509_certificate(pem.encode())
    assert [part.value for part in made.subject] == ["d1"]
    assert int(serial, 16) == made.serial_number and len(serial) <= 40
    assert made.public_key() == asking.key.public_key()
    assert made.not_valid_after_utc - datetime.now(UTC) > timedelta(days=399)


def test_a_key_that_is_none_of_ours_is_refused(authority: Authority) -> None:
    for key, algorithm in (
        (ec.generate_private_key(ec.SECP384R1()), SHA256()),
        (ec.generate_private_key(ec.SECP256K1()), SHA256()),
        (rsa.generate_private_key(65537, 2048), SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ):
        with pytest.raises(BadRequest, match="P-256"):
            authority.device_certificate(Asking(key, algorithm).csr, "d1")


def test_a_request_that_another_key_signed_is_refused(authority: Authority) -> None:
    der = bytearray(Asking().request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(BadRequest, match="signature"):
        authority.device_certificate(broken, "d1")


GOOD = Asking().csr


@given(st.text(max_size=300) | st.text().map(lambda text: GOOD.replace("A", text, 1)) | st.just("x" * 1_000_000))
def test_rubbish_is_a_bad_request(shared: Authority, rubbish: str) -> None:
    assume(rubbish != GOOD)
    with pytest.raises(BadRequest):
        shared.device_certificate(rubbish, "d1")


@pytest.mark.parametrize("device", ["collector", "", "a/b", "+", "#", "a:b", "a\nb", "x" * 65])
def test_no_device_is_called_as_the_collector_or_with_signs_that_mean_something(
    authority: Authority, device: str
) -> None:
    with pytest.raises(ValueError, match="can't be the name"):
        authority.device_certificate(Asking().csr, device)


def test_the_fingerprint_is_the_hash_of_the_certificate_that_everybody_gets(authority: Authority) -> None:
    assert authority.fingerprint == hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.ca_pem)).hexdigest()
    assert Authority.open(authority.folder).fingerprint == authority.fingerprint


def test_keys_can_be_read_by_their_owner_only_and_no_half_file_is_left(authority: Authority) -> None:
    keys = sorted(path.name for path in authority.folder.glob("*.key"))
    assert keys == ["ca.key", "collector.key", "server.key"]
    for name in keys:
        assert stat.S_IMODE((authority.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700
    assert [path.name for path in authority.folder.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_can_not_be_written_stays_as_it_was(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    before = authority.write_crl([("ab", 1)]).read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        authority.write_crl([("cd", 1)])
    assert (authority.folder / "crl.pem").read_bytes() == before
    assert len(list(authority.folder.iterdir())) == 7


def test_a_revoked_certificate_is_refused_where_the_list_is_known_and_others_are_not(
    authority: Authority, tmp_path: Path
) -> None:
    asking = Asking()
    pem, serial = authority.device_certificate(asking.csr, "d1")
    gone = client_side(authority, *asking.files(tmp_path, pem))
    path = authority.write_crl([(serial, 1_790_000_000_000), ("ff", 0)])
    found = x509.load_pem_x509_crl(path.read_bytes())
    assert {entry.serial_number for entry in found} == {int(serial, 16), 255}
    server = server_side(authority)
    server.load_verify_locations(path)
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    greet(server, client_side(authority, *device_files(authority, tmp_path)))
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        greet(server, gone)


def test_certificates_and_list_are_renewed_when_a_third_of_their_life_is_left(authority: Authority) -> None:
    folder = authority.folder
    before = {name: (folder / name).read_bytes() for name in ("server.pem", "server.key", "collector.pem", "ca.pem")}

    def later(days: float) -> Authority:
        return Authority.open(folder, lambda: datetime.now(UTC) + timedelta(days=days))

    assert not later(260).renew() and not later(19).crl_is_due()
    assert later(21).crl_is_due()
    after = later(270)
    assert after.renew() and not after.renew()
    assert (folder / "server.pem").read_bytes() != before["server.pem"]
    assert (folder / "collector.pem").read_bytes() != before["collector.pem"]
    assert all((folder / name).read_bytes() == before[name] for name in ("server.key", "ca.pem"))
    new = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    called = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in called] == NAMES
    assert new.not_valid_after_utc > datetime.now(UTC) + timedelta(days=660)


def test_nothing_outlives_the_authority(authority: Authority) -> None:
    late = Authority.open(authority.folder, lambda: datetime.now(UTC) + timedelta(days=3600))
    made = x509.load_pem_x509_certificate(late.device_certificate(Asking().csr, "d1")[0].encode())
    own = x509.load_pem_x509_certificate(late.ca_pem.encode())
    assert made.not_valid_after_utc == own.not_valid_after_utc


def test_an_authority_is_never_replaced(authority: Authority) -> None:
    with pytest.raises(FileExistsError, match="not replaced"):
        Authority.create(authority.folder, "x", NAMES)


def test_a_folder_without_one_or_with_a_damaged_one_says_so(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no CA \(ca\.pem\): create one"):
        Authority.open(tmp_path / "nowhere")
    other = Authority.create(tmp_path / "other", "x", NAMES)
    (authority.folder / "ca.key").write_bytes((other.folder / "ca.key").read_bytes())
    with pytest.raises(OSError, match="not the key of"):
        Authority.open(authority.folder)
    (authority.folder / "ca.key").write_text("-----")
    with pytest.raises(OSError, match="not a key"):
        Authority.open(authority.folder)


@pytest.mark.parametrize("names", [[], ["trường..vn"], [""]])
def test_a_server_without_a_usable_name_gets_no_certificate(authority: Authority, names: list[str]) -> None:
    before = (authority.folder / "server.pem").read_bytes()
    with pytest.raises(ValueError):
        authority.server_certificate(names)
    assert (authority.folder / "server.pem").read_bytes() == before
