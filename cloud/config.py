"""cloud.toml: read once, checked, frozen.

Owns the tables of the file and every limit of the cloud with its unit; `devices.settings` has those of the fleet.
Secrets come by file or environment, never inline. A wrong key is an error that names the file, the key and the nearest
valid one.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from cloud.devices.broker.settings import BrokerHttpConfig, MosquittoConfig
from cloud.devices.settings import AuthorityConfig, EnrolmentConfig, EstConfig, UpdatesConfig
from cloud.settings import Bind, TimeZone, WebAddress, secret, web_address
from firmware_specs.gateway_file import is_loopback
from firmware_specs.tomlfile import Model, load_toml


class HttpConfig(Model):
    """The API and the console."""

    bind: Bind = "127.0.0.1:8000"
    """Address and port; port 0 takes a free one."""
    public_url: WebAddress | None = None
    """Where people reach the console, `https://patrol.example`: for links and for sign-in by an identity provider."""
    public: bool = False
    """Must be true for a bind beyond loopback: put a TLS proxy in front of it."""
    secure_cookies: bool = False
    """True behind TLS: the session cookie is then sent over HTTPS only."""
    session_h: float = Field(default=12, gt=0, le=24 * 30)
    """A session ends after this many hours."""
    stream_queue: int = Field(default=1000, ge=10)
    """Events that wait for one slow stream client before it is cut; it resumes by the last id."""
    heartbeat_s: float = Field(default=15, gt=0)
    """A comment is sent on an idle event stream this often; the session is checked again each time."""

    @property
    def host(self) -> str:
        """The address without the port."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 for a free one."""
        return int(self.bind.rpartition(":")[2])

    @model_validator(mode="after")
    def _loopback_unless_public(self) -> Self:
        if not self.public and not is_loopback(self.host):
            raise ValueError(
                f"bind: {self.bind!r} is reachable from other machines; set public = true if that is meant"
            )
        return self


class BrokerConfig(Model):
    """The uplink broker that the gateways publish to."""

    url: str = "mqtt://127.0.0.1:1883"
    """`mqtt://host:1883` on loopback, `mqtts://host:8883` beyond."""
    user: str | None = None
    """The user name for the broker."""
    password_file: Path | None = None
    """Or the environment variable PATROL_BROKER_PASSWORD."""
    ca: Path | None = None
    """PEM certificates that sign the broker's; the system's when left out."""
    cert: Path | None = None
    """Our PEM certificate."""
    key: Path | None = None
    """The PEM key of `cert`."""
    group: str = Field(default="ingest", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """The shared subscription's name; all ingest processes of one cloud use the same."""

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.url.startswith("mqtts:")

    @property
    def host_port(self) -> tuple[str, int]:
        """The broker's host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (8883 if self.tls else 1883)

    def password(self) -> str | None:
        """The broker's password, when one is configured."""
        return secret(self.password_file, "PATROL_BROKER_PASSWORD")

    @model_validator(mode="after")
    def _plain_on_loopback_only(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f"url: {self.url!r} is not mqtt://host:port or mqtts://host:port")
        if parts.scheme == "mqtt" and not is_loopback(parts.hostname):
            raise ValueError(f"url: {self.url!r}: plain mqtt:// is accepted on loopback only; use mqtts://")
        if parts.password:
            raise ValueError("url: a password does not belong in the file; use password_file")
        return self


class TelemetryConfig(Model):
    """The time-series store and how long it keeps what."""

    url: str = "sqlite"
    """`sqlite`, `influxdb+http://…` or `victoriametrics+http://…`."""
    token_file: Path | None = None
    """Or the environment variable PATROL_TELEMETRY_TOKEN."""
    raw_days: int = Field(default=90, ge=1)
    """How long readings are kept as they came."""
    minute_days: int = Field(default=400, ge=1)
    """How long means, minima and maxima of each minute are kept."""
    hour_days: int = Field(default=3650, ge=1)
    """How long those of each hour are kept."""
    position_days: int = Field(default=7, ge=1, le=30)
    """Raw positions; more than 30 days is refused."""

    def token(self) -> str | None:
        """The store's token, when one is configured."""
        return secret(self.token_file, "PATROL_TELEMETRY_TOKEN")


class DatabaseConfig(Model):
    """Everything but time series."""

    url: str = "sqlite"
    """`sqlite` or `postgresql://user@host/name`."""
    password_file: Path | None = None
    """Or the environment variable PATROL_DATABASE_PASSWORD."""

    def password(self) -> str | None:
        """The database's password, when one is configured."""
        return secret(self.password_file, "PATROL_DATABASE_PASSWORD")

    @model_validator(mode="after")
    def _known(self) -> Self:
        parts = urlsplit(self.url)
        if self.url != "sqlite" and parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError(f'url: {self.url!r} is neither "sqlite" nor postgresql://…')
        if parts.password:
            raise ValueError("url: a password does not belong in the file; use password_file")
        return self


class LivenessConfig(Model):
    """When silence becomes a state."""

    gateway_s: float = Field(default=90, gt=0)
    """A gateway that was not heard for this long is offline."""
    device_grace_s: float = Field(default=15, ge=0)
    """The gateway judges its devices first; the cloud waits this much longer before it does."""
    tick_s: float = Field(default=1, gt=0, le=60)
    """How often due deadlines are looked for."""


class LimitsConfig(Model):
    """Bounds on what is accepted and kept."""

    late_s: float = Field(default=900, gt=0)
    """An alarm or reading older than this on arrival is labelled late."""
    sos_s: int = Field(default=1800, ge=60, le=86400)
    """How long an SOS lets positions of the device that it came from exist outside a shift."""
    events_days: int = Field(default=7, ge=1)
    """How long the event stream can be resumed."""
    body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Of an HTTP request."""
    sign_in_tries: int = Field(default=10, ge=1)
    """Failed tries in `sign_in_window_s` per account and address."""
    sign_in_window_s: float = Field(default=900, gt=0)
    """The time in which failed tries are counted."""


class NotifyConfig(Model):
    """Sending notifications."""

    allow_hosts: tuple[Bind, ...] = ()
    """`host:port` of targets on internal networks that are meant: a relay, an SMS appliance. Every other target must
    resolve to public addresses only, and be encrypted."""
    timeout_s: float = Field(default=15, ge=0.2, le=60)
    """How long a channel may take to answer."""
    keep_days: int = Field(default=90, ge=1)
    """How long ended deliveries are kept."""


class MapConfig(Model):
    """The map's background. Without tiles it draws our own data on a plain ground."""

    tiles_url: str | None = None
    """`https://{s}.tiles.example/{z}/{x}/{y}.png`; browsers are then allowed to fetch pictures from there."""
    datum: Literal["wgs84", "gcj02", "bd09"] = "wgs84"
    """What the tiles are drawn on. Our data stays WGS-84 and is shifted for display only."""
    attribution: str = Field(default="", max_length=200)
    """Whom the map names as the source of the tiles."""
    max_zoom: int = Field(default=19, ge=1, le=24)
    """The finest tiles that there are."""

    @property
    def host(self) -> str:
        """Where tiles come from, as a Content-Security-Policy names it; empty without tiles."""
        parts = urlsplit(self.tiles_url or "")
        return f"{parts.scheme}://{parts.netloc.replace('{s}.', '*.', 1)}" if self.tiles_url else ""

    @model_validator(mode="after")
    def _a_template(self) -> Self:
        if self.tiles_url is None:
            return self
        if any(part not in self.tiles_url for part in ("{z}", "{x}", "{y}")):
            raise ValueError(f"tiles_url: {self.tiles_url!r} has no {{z}}, {{x}} and {{y}}")
        web_address(self.tiles_url.partition("?")[0])
        if not re.fullmatch(r"https?://([*]\.)?[A-Za-z0-9.:-]+", self.host):
            raise ValueError(
                f"tiles_url: {self.tiles_url!r}: the host may have {{s}}. in front and nothing else in braces"
            )
        return self


class OidcConfig(Model):
    """Sign-in by an identity provider (OpenID Connect, authorization code with PKCE), beside local accounts.

    Nobody is made a user by signing in: a user is linked to an account by an administrator, or by `claim`.
    """

    issuer: WebAddress
    """The provider, exactly as it names itself; `/.well-known/openid-configuration` is read below it."""
    client_id: str = Field(min_length=1, max_length=255)
    """What the provider calls this service. The address to give it is `public_url` and `/sign-in/oidc/callback`."""
    client_secret_file: Path | None = None
    """Or the environment variable PATROL_OIDC_SECRET; without either the service is a public client."""
    title: str = Field(default="SSO", min_length=1, max_length=40)
    """What the button on the sign-in page says."""
    scopes: tuple[str, ...] = ("openid",)
    """What is asked for; `email` or `profile` when `claim` needs it."""
    claim: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")
    """A claim that links an account at its first sign-in: to the user whose subject an administrator set to
    `claim:value`, else to the user of that name, unless it is an administrator. People must not be able to choose its
    value at the provider. Of `email` only verified ones count."""

    def secret(self) -> str | None:
        """The client's secret, when one is configured."""
        return secret(self.client_secret_file, "PATROL_OIDC_SECRET")

    @model_validator(mode="after")
    def _openid(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError('scopes: "openid" is missing')
        return self


class Config(Model):
    """cloud.toml."""

    data_dir: Path
    """Where the embedded databases live; made when it is missing."""
    time_zone: TimeZone = "Asia/Shanghai"
    """The site's zone; pages and reports name it."""
    profiles_dir: Path | None = None
    """More profiles; they override built-in ones of the same name."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least urgent that is logged."""
    http: HttpConfig = HttpConfig()
    broker: BrokerConfig = BrokerConfig()
    mosquitto: MosquittoConfig | None = None
    """Left out, nobody keeps a broker's configuration: it is made by hand, or asks over HTTP."""
    broker_http: BrokerHttpConfig = BrokerHttpConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    database: DatabaseConfig = DatabaseConfig()
    liveness: LivenessConfig = LivenessConfig()
    limits: LimitsConfig = LimitsConfig()
    notify: NotifyConfig = NotifyConfig()
    map: MapConfig = MapConfig()
    authority: AuthorityConfig = AuthorityConfig()
    enrolment: EnrolmentConfig = EnrolmentConfig()
    est: EstConfig | None = None
    """Left out, nobody listens for gateways that enrol."""
    updates: UpdatesConfig = UpdatesConfig()
    oidc: OidcConfig | None = None
    """Left out, only local accounts sign in."""

    @model_validator(mode="after")
    def _the_provider_knows_the_way_back(self) -> Self:
        if self.oidc and not self.http.public_url:
            raise ValueError("oidc: http.public_url is missing: the provider has to know where to send people back")
        return self


def load_config(path: Path) -> Config:
    """Read cloud.toml; relative paths in it are relative to the file.

    Raises ConfigError naming the file, the key and the cause.
    """
    config = load_toml(path, Config)
    base = path.resolve().parent
    return config.model_copy(
        update={
            "data_dir": base / config.data_dir,
            "profiles_dir": base / config.profiles_dir if config.profiles_dir else None,
            "mosquitto": config.mosquitto.below(base) if config.mosquitto else None,
        }
    )
