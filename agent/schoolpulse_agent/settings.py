"""The agent's settings: one TOML file, read into dataclasses; a wrong one stops the start with one clear line."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from schoolpulse_agent import language, probe, rules

T = TypeVar("T")
DEFAULT = (
    Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"), "SchoolPulse", "agent.toml")
    if os.name == "nt"
    else Path("/etc/schoolpulse/agent.toml")
)


class SettingsError(language.Told):
    """The settings can't be used; the message is one line that says where and what to do."""


@dataclass
class Device:
    """Who this machine is, as its enrolment said."""

    id: str = ""  # device id; also its MQTT user name and client id
    school: str = ""  # key of its school
    secret: str = ""  # the device's secret, or
    secret_file: str = ""  # the file that holds it


@dataclass
class Broker:
    """Where reports go."""

    url: str = "mqtt://127.0.0.1:1883"  # mqtts://host:8883 for TLS; mqtt:// is for this machine only
    ca_file: str = ""  # the centre's CA certificate; empty: the system's
    certificate_file: str = ""  # this device's own, if the centre gives certificates, and
    key_file: str = ""  # its private key

    @property
    def host(self) -> str:
        """Name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The URL's port, or MQTT's own."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"


@dataclass
class Centre:
    """Where this machine was enrolled, asked for a new certificate or identity when it is time."""

    url: str = ""  # https://host:8443; empty: the agent keeps what it has


@dataclass
class Reports:
    """How often to report, and how much to keep while the centre can't be reached."""

    interval: float = 60.0  # seconds between two reports
    folder: str = "/var/lib/schoolpulse"  # reports not yet confirmed
    keep_mb: float = 4.0  # at most so much on disk: about 11 days; then the oldest go, counted
    replay_spread: float = 300.0  # after a cut, wait a random time up to so many seconds before sending the backlog
    replay_rate: float = 1.0  # backlog messages (60 reports each) a second, until the centre has said how many


@dataclass
class Limits:
    """What the agent itself may cost; it reports less often rather than cost more."""

    cpu_percent: float = 1.0  # of one processor, averaged over ten reports
    memory_mb: float = 64.0  # resident; past that it starts anew


@dataclass
class Update:
    """Newer versions of the agent, as the centre offers them. Off: what is installed runs, and nothing else."""

    enabled: bool = False
    public_key: str = ""  # Ed25519, base64: whose signature an offered version must carry


@dataclass
class Settings:
    """All settings; ``probes`` holds every probe that is on, ready to read."""

    device: Device = field(default_factory=Device)
    broker: Broker = field(default_factory=Broker)
    centre: Centre = field(default_factory=Centre)
    reports: Reports = field(default_factory=Reports)
    limits: Limits = field(default_factory=Limits)
    update: Update = field(default_factory=Update)
    probes: dict[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)  # the file they were read from
    document: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # what stands in it

    def secret(self) -> str:
        """The device's secret, from its file if one is named. Raises SettingsError."""
        if not self.device.secret_file:
            return self.device.secret
        try:
            return Path(self.device.secret_file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as why:
            en, vi = _unreadable(why)
            where = f"device.secret_file {self.device.secret_file}"
            raise SettingsError(f"{where}: {en}", f"{where}: {vi}") from None

    def require_enrolment(self) -> None:
        """Raises SettingsError unless this machine has an identity."""
        if not (self.device.id and self.device.school and self.secret()):
            raise SettingsError(
                "this machine is not enrolled: [device] needs id, school and secret or secret_file; "
                "schoolpulse-agent enroll writes them",
                "máy này chưa đăng ký: [device] cần id, school và secret hoặc secret_file; "
                "lệnh schoolpulse-agent enroll sẽ ghi các mục đó",
            )

    def ca_file(self) -> str | None:
        """The CA certificate's file, None for the system's. Raises SettingsError if it is not there."""
        return self._file("ca_file") or None

    def certificate(self) -> tuple[str, str] | None:
        """The files of this device's certificate and key, None without. Raises SettingsError if they are not there."""
        return (self._file("certificate_file"), self._file("key_file")) if self.broker.certificate_file else None

    def _file(self, setting: str) -> str:
        name: str = getattr(self.broker, setting)
        if name and not Path(name).is_file():
            raise SettingsError(
                f"broker.{setting} {name}: there is no such file",
                f"broker.{setting} {name}: không có tệp này; đăng ký lại, hoặc sửa đường dẫn",
            )
        return name


SECTIONS: dict[str, type[Any]] = {
    "device": Device,
    "broker": Broker,
    "centre": Centre,
    "reports": Reports,
    "limits": Limits,
    "update": Update,
}


def load(path: Path | None) -> Settings:
    """Read a settings file; None means all defaults. Raises SettingsError."""
    if path is None:
        return parse({}, "defaults")
    from schoolpulse_agent import toml

    try:
        found = parse(toml.loads(path.read_text(encoding="utf-8-sig")), str(path))  # Notepad writes a mark first
    except OSError as why:
        en, vi = _unreadable(why)
        raise SettingsError(
            f"{path}: {en}; name another file with --config", f"{path}: {vi}; chọn tệp khác bằng --config"
        ) from None
    except (toml.TOMLDecodeError, UnicodeDecodeError) as why:
        place = re.search(r"line (\d+), column (\d+)", str(why))
        near = f"sửa dòng {place[1]}, cột {place[2]}" if place else "sửa tệp này bằng trình soạn thảo UTF-8"
        raise SettingsError(
            f"{path}: not valid TOML: {why}", f"{path}: không phải TOML hợp lệ: {near} ({why})"
        ) from None
    found.path = path
    return found


def _unreadable(why: OSError | UnicodeDecodeError) -> tuple[str, str]:
    if isinstance(why, UnicodeDecodeError):
        return str(why), f"không phải văn bản UTF-8 ({why})"
    told = language.reason(why)
    return str(told), told.vi


def parse(document: dict[str, Any], where: str) -> Settings:
    """Turn a TOML document into settings. Raises SettingsError naming the nearest known key for an unknown one."""
    _known(document, [*SECTIONS, "probe"], where)
    built = {name: _build(cls, document.get(name, {}), f"{where}: {name}") for name, cls in SECTIONS.items()}
    settings = Settings(**built, document=document)
    given = document.get("probe", {})
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: [probe] must be a table", f"{where}: [probe] phải là một bảng")
    _known(given, probe.names(), f"{where}: probe")
    for name in probe.names():
        own = given.get(name, {})
        own = dict(own) if isinstance(own, dict) else own
        cls = probe.probe_class(name)
        default = getattr(cls, "on", True)
        enabled = own.pop("enabled", default) if isinstance(own, dict) else default
        if not isinstance(enabled, bool):
            setting = f"{where}: probe.{name}.enabled: {enabled!r}"
            raise SettingsError(f"{setting} is not true or false", f"{setting} phải là true hoặc false")
        if not enabled:
            continue
        settings.probes[name] = _build(cls, own, f"{where}: probe.{name}")
    _check(settings, where)
    return settings


def _check(settings: Settings, where: str) -> None:
    for en, vi in rules.broken(settings):
        raise SettingsError(f"{where}: {en}", f"{where}: {vi}")


def _build(cls: type[T], given: Any, where: str) -> T:
    """Fill a dataclass from a TOML table, each value of its default's type."""
    if not isinstance(given, dict):
        table = f"[{where.rpartition(' ')[2]}]"
        raise SettingsError(f"{where} must be a table, as in {table}", f"{where} phải là một bảng, như {table}")
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    _known(given, list(known), where)
    values: dict[str, Any] = {}
    for name, value in given.items():
        default = known[name].default
        if isinstance(default, tuple) and isinstance(value, list) and all(isinstance(item, str) for item in value):
            values[name] = tuple(value)
        elif isinstance(default, float) and type(value) in (int, float):
            values[name] = _float(value, f"{where}.{name}")
        elif type(value) is type(default):
            values[name] = value
        else:
            shown = "the value" if name == "secret" else repr(value)
            en, vi = _KINDS[type(default)]
            raise SettingsError(
                f"{where}.{name}: {shown} is not a {en}",
                f"{where}.{name}: {'giá trị' if name == 'secret' else shown} không phải là {vi}",
            )
    return cls(**values)


def _float(value: float, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise SettingsError(f"{where}: this number is too large", f"{where}: số này quá lớn") from None


_KINDS = {
    str: ("text", "chuỗi trong ngoặc kép"),
    float: ("number", "số"),
    bool: ("true or false", "true hoặc false"),
    tuple: ("list of texts", "danh sách chuỗi"),
    int: ("whole number", "số nguyên"),
}


def _known(given: dict[str, Any], known: list[str], where: str) -> None:
    for name in given:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            names = ", ".join(known)
            raise SettingsError(
                f"{where}: unknown setting {name!r}: "
                + (f"did you mean {near[0]!r}?" if near else f"known are {names}"),
                f"{where}: không có cài đặt {name!r}: "
                + (f"ý bạn là {near[0]!r}?" if near else f"các cài đặt có là {names}"),
            )
