"""The way to the broker, through it to the collector and back, and to the centre's HTTPS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Callable

from schoolpulse_agent import __version__, centre, identity, tls, wallclock
from schoolpulse_agent.checks import PATIENCE, Found, Look, Step
from schoolpulse_agent.language import Told
from schoolpulse_agent.link import About, Link
from schoolpulse_agent.outbox import Outbox


def steps(parts: contextlib.ExitStack, broker: str) -> list[Step]:
    """In order. ``parts``: what is to be closed after the last one; ``broker``: its host and port."""

    def connect(look: Look) -> Found:
        look.link = parts.enter_context(_connection(look))
        return signed_in(look)

    return [
        Step("name", "tên máy chủ", name, ("enrolment",)),
        Step(f"network {broker}", f"mạng {broker}", network, ("enrolment", "name")),
        Step("TLS", "TLS", encryption, ("enrolment", f"network {broker}")),
        Step("credentials", "đăng nhập", connect, ("enrolment", "TLS")),
        Step("publish and receipt", "gửi và xác nhận", receipt, ("credentials",)),
        Step("clock offset", "lệch giờ", offset, ("publish and receipt",)),
        Step("inventory at the centre", "kiểm kê ở trung tâm", known, ("inventory", "publish and receipt")),
        Step("centre", "trung tâm", of_centre, ("enrolment",)),
    ]


def name(look: Look) -> Found:
    """The broker's name leads to an address."""
    broker = look.settings.broker
    try:
        found = centre.within(PATIENCE, lambda: socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM))
    except OSError as why:
        en, vi = centre.unreached(why if isinstance(why, socket.gaierror) else socket.gaierror())
        raise Told(f"{broker.host}: {en}; see broker.url", f"{broker.host}: {vi}; xem broker.url") from None
    said = f"{broker.host} = {found[0][4][0]}"
    return said, said


def network(look: Look) -> Found:
    """Something answers at the broker's port."""
    broker = look.settings.broker
    try:
        socket.create_connection((broker.host, broker.port), timeout=5.0).close()
    except OSError as why:
        raise _no_way(str(why), *centre.unreached(why)) from None
    return "something answers there", "có dịch vụ trả lời"


def _no_way(said: str, en: str, vi: str) -> Told:
    return Told(f"{said}: {en}; see broker.url", f"{said}: {vi}; xem broker.url")


def encryption(look: Look) -> Found:
    """The broker shows a certificate of its own name, by the centre's CA, that is valid today."""
    broker = look.settings.broker
    if not broker.tls:
        return "none, for the broker is on this machine", "không dùng, vì trung tâm ở ngay trên máy này"
    context = tls.context(look.settings.ca_file(), int(time.time() * 1000), look.settings.certificate())
    try:
        plain = socket.create_connection((broker.host, broker.port), timeout=5.0)
        with context.wrap_socket(plain, server_hostname=broker.host) as encrypted:
            certificate, version = encrypted.getpeercert(), encrypted.version()
    except ssl.SSLCertVerificationError as why:
        raise _no_way(why.verify_message, *centre.untrusted(why)) from None
    except OSError as why:
        raise _no_way(str(why), "no TLS there: check the port", "ở đó không có TLS: kiểm tra cổng") from None
    last = ssl.cert_time_to_seconds(str((certificate or {}).get("notAfter")))
    until = datetime.fromtimestamp(last).strftime("%d/%m/%Y")
    return f"{version}, its certificate is valid until {until}", f"{version}, chứng thư có hiệu lực đến {until}"


@contextlib.contextmanager
def _connection(look: Look) -> Iterator[Link]:
    """The agent's own link with an outbox that is empty and forgotten."""
    with tempfile.TemporaryDirectory() as kept:
        hardware = identity.read().fingerprint
        outbox = Outbox(Path(kept), Path(kept) / "live")
        link = Link(look.settings, outbox, wallclock.WallClock(), hardware=hardware)
        link.tell(About(agent=__version__), look.inventory, look.settings.reports.interval)
        try:
            yield link
        finally:
            link.close(0.5)
            outbox.close()


def _wait(link: Link, until: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not until():
        link.work()
        time.sleep(0.05)


def signed_in(look: Look) -> Found:
    """The broker lets this device in."""
    link, device = look.link, look.settings.device.id
    assert link is not None
    _wait(link, lambda: link.connected or link.rejected)
    if not link.connected:
        if link.refused is None:
            raise Told(
                f"something is there, but in {PATIENCE:g} s no broker answers: check the port; see broker.url",
                f"có dịch vụ ở đó, nhưng {PATIENCE:g} giây không có trả lời MQTT: kiểm tra cổng; xem broker.url",
            )
        said = link.refused
        raise Told(
            f"the broker refuses device {device} ({said}): enrol again with --force, or ask the centre whether"
            " it is active",
            f"trung tâm từ chối thiết bị {device} ({said}): đăng ký lại với --force, hoặc hỏi trung tâm"
            " thiết bị còn hiệu lực không",
        )
    if is_running(Path(look.settings.reports.folder)):
        return (
            f"as {device}; the service runs here, this look broke its connection for a moment, it comes back by itself",
            f"với mã {device}; dịch vụ đang chạy, lần thử này làm nó ngắt kết nối giây lát rồi tự nối lại",
        )
    return f"as {device}; the service does not run now", f"với mã {device}; dịch vụ hiện không chạy"


def receipt(look: Look) -> Found:
    """The collector has received a message and answers."""
    link, school = look.link, look.settings.device.school
    assert link is not None
    _wait(link, lambda: link.receipts)
    if not link.receipts:
        raise Told(
            f"the broker takes messages, but no receipt came in {PATIENCE:g} s: ask the centre whether its collector"
            f" runs and whether this device belongs to school {school!r}",
            f"gửi được nhưng {PATIENCE:g} giây không có xác nhận: hỏi trung tâm bộ thu có chạy không, và thiết bị"
            f" này có thuộc trường {school!r} không",
        )
    return "the collector answers", "trung tâm đã xác nhận"


def offset(look: Look) -> Found:
    """This machine's clock agrees with the centre's as far as reports need it."""
    assert look.link is not None
    ms = look.link.wallclock.offset_ms
    said = f"{ms / 1000:+.1f} s"
    if abs(ms) > wallclock.FAR:
        raise Told(
            f"the centre's clock is {said} from this machine's: set date, time and time zone, switch on NTP",
            f"giờ trung tâm lệch {said} so với máy này: chỉnh ngày, giờ, múi giờ và bật đồng bộ NTP",
        )
    return f"{said} to the centre's", f"{said} so với trung tâm"


def known(look: Look) -> Found:
    """Whether the centre knows what this machine is made of; that it does not yet is no fault."""
    assert look.link is not None
    if look.link.known_inventory == look.inventory.hash:
        return "known there", "trung tâm đã có"
    return "not known yet; the service sends it", "trung tâm chưa có; dịch vụ sẽ gửi"


def of_centre(look: Look) -> Found:
    """The centre's HTTPS answers, which renews certificates and identities."""
    url = look.settings.centre.url
    if not url:
        return "none named: nothing is renewed", "không khai báo: không tự gia hạn"
    context = tls.context(None, int(time.time() * 1000))
    ca = look.settings.ca_file()
    if ca:
        context.load_verify_locations(cafile=ca)
    status, _, _ = centre.ask(url, "GET", "/ca.pem", None, context)
    if status != 200:
        raise Told(f"{url}: HTTP {status}: {centre.HERE}", f"{url}: HTTP {status}: {centre.HERE_VI}")
    return f"{url} answers", f"{url} trả lời"


def is_running(place: Path) -> bool:
    """Whether an agent holds the lock of this folder of reports. Windows has none: False."""
    try:
        import fcntl

        lock = os.open(place / "lock", os.O_RDWR)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
