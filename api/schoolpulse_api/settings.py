"""The server's settings: ``schoolpulse.toml``, with environment variables ``SP_...`` over it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

NAME = "schoolpulse.toml"


class SettingsError(Exception):
    """The settings can't be used; the message says where, why and what to do."""


class Settings(BaseSettings):
    """One server. Every field may also be set as ``SP_`` and its name in capitals, as in ``SP_HTTP_PORT``."""

    model_config = SettingsConfigDict(env_prefix="SP_", extra="forbid")

    home: Path = Field(Path("schoolpulse-data"), description="folder for everything that is kept")
    http_host: str = Field("127.0.0.1", description="address the API and console listen on")
    http_port: int = Field(8080, ge=1, le=65535, description="port of API and console")
    mqtt_host: str = Field("127.0.0.1", description="address the embedded broker listens on")
    mqtt_port: int = Field(1883, ge=1, le=65535, description="port of the embedded broker")
    mqtts_host: str = Field("127.0.0.1", description="address the embedded broker listens on with TLS, for devices")
    mqtts_port: int = Field(8883, ge=1, le=65535, description="its port; used once `schoolpulse init` made a CA")
    public_name: str = Field("", description="name or address by which devices and people reach this centre")
    broker: str = Field("", description="MQTT broker as mqtt://127.0.0.1:1883; empty: the embedded one")
    broker_password_file: str = Field("", description="file with the password of the user 'collector' at that broker")
    store: str = Field("", description="where samples stay, as victoriametrics://127.0.0.1:8428; empty: duckdb in home")
    broker_folder: str = Field("", description="what `schoolpulse broker setup` made for mosquitto or NATS")
    device_broker: str = Field(
        "", description="where devices with a secret report, as mqtts://centre:8883; empty: this centre's own"
    )
    device_broker_mtls: str = Field("", description="where devices with a certificate report; empty: none gets one")
    spool_gb: float = Field(4.0, ge=0.1, description="reports kept for a store that is away; then senders keep theirs")
    replay_rate: float = Field(
        1.0, ge=0, le=1000, description="messages of backlog a second from each sender after a cut; 0: pause"
    )
    registry: str = Field("", description="database of schools and devices; empty: SQLite in home")
    installers: str = Field("", description="folder of the agent's packages (.deb, .zip); empty: in home")
    oidc_issuer: str = Field("", description="OpenID Connect provider, as https://login.example; empty: none")
    oidc_client_id: str = Field("", description="what that provider registered this server as")
    oidc_client_secret_file: str = Field("", description="file with the client secret; empty: a public client")
    oidc_name: str = Field("", description="what people call that provider; empty: its host's name")
    oidc_claim: str = Field("schoolpulse", description="claim with the grants: role, role@unit:key or role@school:key")
    time_zone: str = Field("Asia/Ho_Chi_Minh", description="zone in which people see times")

    def broker_password(self) -> str:
        """The collector's password at a broker of its own. Raises SettingsError."""
        return self._read("broker_password_file")

    def oidc_client_secret(self) -> str:
        """This server's secret at the OpenID Connect provider; empty: it has none. Raises SettingsError."""
        return self._read("oidc_client_secret_file") if self.oidc_client_secret_file else ""

    def _read(self, field: str) -> str:
        file = getattr(self, field)
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as why:
            raise SettingsError(f"{field} {file!r}: {getattr(why, 'strerror', None) or 'is no text'}") from None

    @property
    def tls_folder(self) -> Path:
        """Where the centre's CA and certificates are, once `schoolpulse init` has made them."""
        return self.home / "tls"

    @property
    def installers_folder(self) -> Path:
        """Where the agent's packages lie that this centre hands out."""
        return Path(self.installers) if self.installers else self.home / "installers"

    @property
    def has_tls(self) -> bool:
        """Whether this centre has a CA: then it listens with TLS."""
        return (self.tls_folder / "ca.pem").exists()

    @property
    def url(self) -> str:
        """The address of API and console."""
        scheme, usual = ("https", 443) if self.has_tls else ("http", 80)
        host = self.public_name or self.http_host
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}" + ("" if self.http_port == usual else f":{self.http_port}")

    @property
    def store_url(self) -> str:
        """The store's URL, filled in."""
        return self.store or f"duckdb://{self.home.resolve()}/samples.duckdb"

    @property
    def registry_url(self) -> str:
        """The registry's URL, filled in."""
        return self.registry or f"sqlite:///{self.home.resolve()}/registry.sqlite"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _file(init_settings()))


def _file(given: dict[str, Any]) -> Path:
    """The settings' file: the named one, or one in this folder, or the one that `schoolpulse init` put in home."""
    named = os.environ.get("SP_CONFIG")
    if named or Path(NAME).exists():
        return Path(named or NAME)
    return Path(given.get("home") or os.environ.get("SP_HOME") or "schoolpulse-data") / NAME


def load(**given: Any) -> Settings:
    """Read the settings; ``given`` goes over all else. Raises SettingsError."""
    known = [f"SP_{name}".upper() for name in Settings.model_fields] + ["SP_CONFIG"]
    for name in os.environ:
        if name.startswith("SP_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(f"unknown setting {name}" + (f": did you mean {near[0]}?" if near else ""))
    named = os.environ.get("SP_CONFIG")
    if named and not Path(named).is_file():
        raise SettingsError(f"SP_CONFIG={named}: there is no such file")
    try:
        return Settings(**given)
    except ValidationError as why:
        problem = why.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(Settings.model_fields)}"
            raise SettingsError(f"unknown setting {name!r}: {hint}") from None
        raise SettingsError(f"setting {name!r}: {problem['msg']} (it is {problem['input']!r})") from None
    except ValueError as why:  # not valid TOML
        raise SettingsError(f"{named or 'schoolpulse.toml'}: {why}") from None
