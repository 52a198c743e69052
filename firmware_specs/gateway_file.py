"""The contract of `gateway.toml`: frozen models of the whole file and of what the cloud may want of it.

Owns every key, its limits with units, and what must hold between its tables. Secrets stand in files of their own and
are never inline. The gateway reads its file by it, the cloud checks by it what it sends. Knows nothing of profiles, of
files and of where relative paths count from.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from firmware_specs.errors import nearest
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.tomlfile import Model

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_url(url: str, ports: dict[str, int]) -> tuple[str, str, int]:
    """Scheme, host and port of a URL whose schemes and default ports are `ports`. Raises ValueError."""
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise ValueError(f"{url!r}: {e}") from e
    if parts.scheme not in ports:
        raise ValueError(f"{url!r}: scheme {parts.scheme!r}{nearest(parts.scheme, ports)}")
    if not parts.hostname:
        raise ValueError(f"{url!r}: no host")
    _check_host(parts.hostname)
    if parts.username or parts.password:
        raise ValueError(f"{parts.hostname}: user and password do not stand in a url; use user and password_file")
    return parts.scheme, parts.hostname, port or ports[parts.scheme]


def _check_host(host: str) -> None:
    """Raises ValueError for what the resolver would refuse with an error of another class."""
    try:
        host.encode("idna")
    except UnicodeError as e:
        raise ValueError(f"{host[:80]!r} is not a host name") from e
    if host.startswith("."):
        raise ValueError(f"{host[:80]!r} is not a host name")


def split_bind(bind: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or a bare host. Raises ValueError."""
    parts = urlsplit(f"//{bind}")
    try:
        port = parts.port
    except ValueError as e:
        raise ValueError(f"{bind!r}: {e}") from e
    if not parts.hostname:
        raise ValueError(f"{bind!r}: no host")
    _check_host(parts.hostname)
    return parts.hostname, default_port if port is None else port


def _mqtt_url(url: str) -> str:
    split_url(url, MQTT_PORTS)
    return url


def _opcua_url(url: str) -> str:
    split_url(url, {"opc.tcp": 4840})
    return url


def _coap_bind(bind: str) -> str:
    split_bind(bind, 5683)
    return bind


class _MqttEndpoint(Model):
    """What it takes to reach a broker."""

    url: Annotated[str, AfterValidator(_mqtt_url)]
    """`mqtt://host:1883` or `mqtts://host:8883`."""
    user: str | None = None
    """The user name for the broker."""
    password_file: Path | None = None
    """A file whose first line is the password."""
    ca: Path | None = None
    """PEM certificates that sign the broker's; the system's when left out."""
    cert: Path | None = None
    """Our PEM certificate."""
    key: Path | None = None
    """The PEM key of `cert`."""
    keepalive_s: int = Field(default=30, ge=5, le=3600)
    """A broker that is silent this long is asked, and left when it does not answer."""
    connect_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """How long a connection may take to be accepted."""

    @property
    def host_port(self) -> tuple[str, int]:
        """The broker's host and port."""
        return split_url(self.url, MQTT_PORTS)[1:]

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.url.startswith("mqtts:")

    @model_validator(mode="after")
    def _cert_with_key(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file without user")
        if not self.tls and (self.ca or self.cert):
            raise ValueError("ca, cert and key need an mqtts:// url")
        return self


class UplinkConfig(_MqttEndpoint):
    """The way to the cloud: an MQTT 5 broker."""

    ack_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """A pack that the cloud has not acknowledged within this is sent again over a new connection."""
    canary_s: float = Field(default=30.0, gt=0, le=80)
    """An idle gateway asks for a sign of life this often."""
    backoff_max_s: float = Field(default=30.0, gt=0, le=600)
    """The longest wait between two tries to connect; each wait is drawn from zero to the current limit."""

    @model_validator(mode="after")
    def _plain_on_loopback_only(self) -> Self:
        if not self.tls and not is_loopback(self.host_port[0]):
            raise ValueError(f"{self.url!r}: plain mqtt:// is accepted on loopback only; use mqtts://")
        return self


class _Connector(Model):
    name: Name = ""
    """Unique in the file; defaults to the kind."""
    backoff_max_s: float = Field(default=5.0, gt=0, le=600)
    """The longest wait between two tries to reach the endpoint."""


class MqttConfig(_Connector, _MqttEndpoint):
    """Sensors that publish to a broker. A device's `address` is its topic; `+` and `#` are allowed."""

    kind: Literal["mqtt"]
    version: Literal["5", "3.1.1"] = "5"
    """MQTT version spoken with the broker."""
    client_id: str | None = Field(default=None, max_length=64)
    """Defaults to `<gateway>-<name>`; the broker keeps the session under it."""
    session_expiry_s: int = Field(default=86400 * 7, ge=0, le=2**32 - 1)
    """How long the broker keeps messages for us while we are away (MQTT 5)."""
    receive_maximum: int = Field(default=8192, ge=1, le=65535)
    """Messages that may wait for our acknowledgement at a time (MQTT 5); bounds memory."""
    qos: Literal[0, 1] = 1
    """Of our subscriptions."""
    discover: tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...] = Field(
        default=(), max_length=16
    )
    """Topic filters under which new devices are listened for; what is heard there is offered for adoption, not kept."""


class CoapConfig(_Connector):
    """A CoAP server that sensors POST to; a device whose `address` is a `coap://` URI is observed instead."""

    kind: Literal["coap"]
    bind: Annotated[str, AfterValidator(_coap_bind)] = "127.0.0.1:5683"
    """Address and UDP port to listen on."""
    max_payload_bytes: int = Field(default=65536, ge=64, le=1048576)
    """A larger request is refused with 4.13."""
    renew_slack_s: float = Field(default=10.0, ge=1, le=60)
    """An observation is renewed this long after its Max-Age has passed."""

    @property
    def host_port(self) -> tuple[str, int]:
        """Where the server listens."""
        return split_bind(self.bind, 5683)


class SerialConfig(_Connector):
    """A serial line. A device's `address` is its unit id, or `*` for the only device of the line."""

    kind: Literal["serial"]
    port: str = Field(min_length=1)
    """A stable path, such as `/dev/serial/by-id/…`."""
    baud: int = Field(default=9600, ge=50, le=4_000_000)
    """Bits per second."""
    data_bits: Literal[7, 8] = 8
    """Of each character."""
    parity: Literal["none", "even", "odd"] = "none"
    """Of each character."""
    stop_bits: Literal[1, 2] = 1
    """After each character."""
    framing: Literal["auto", "line", "nmea", "stx-etx"] = "auto"
    """How frames are told apart; `auto` takes what the devices' profiles need."""
    max_frame_bytes: int = Field(default=1024, ge=16, le=65536)
    """A longer run without an end is dropped and counted."""
    silence_s: float | None = Field(default=None, gt=0)
    """The port is opened anew when nothing at all came for this long; never when left out."""


class OpcuaConfig(_Connector):
    """An OPC UA server. A device's `address` is the node id of its folder."""

    kind: Literal["opcua"]
    url: Annotated[str, AfterValidator(_opcua_url)]
    """`opc.tcp://host:4840`."""
    security: Literal["none", "basic256sha256", "aes256sha256rsapss"] = "none"
    """Messages are signed and encrypted with any but `none`."""
    cert: Path | None = None
    """Our application certificate, DER or PEM."""
    key: Path | None = None
    """The key of `cert`."""
    trusted_dir: Path | None = None
    """Certificates of servers that are trusted, DER or PEM; demanded with any security but `none`."""
    user: str | None = None
    """The user name for the server; anonymous when left out."""
    password_file: Path | None = None
    """A file whose first line is the password."""
    publishing_ms: int = Field(default=250, ge=20, le=60000)
    """How often the server sends what changed."""
    watchdog_s: float = Field(default=30.0, gt=0, le=3600)
    """A subscription that said nothing this long, keep-alives included, is replaced with a new client."""
    deadline_s: float = Field(default=15.0, gt=0, le=300)
    """Any step towards a working subscription must end within this."""
    discover: bool = False
    """Look through the server for folders that could be devices; what is found is offered for adoption."""

    @model_validator(mode="after")
    def _security_has_its_files(self) -> Self:
        if self.security != "none":
            for key in ("cert", "key", "trusted_dir"):
                if getattr(self, key) is None:
                    raise ValueError(f"security {self.security!r} needs {key}")
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file without user")
        return self


ConnectorConfig = Annotated[MqttConfig | CoapConfig | SerialConfig | OpcuaConfig, Field(discriminator="kind")]


class DeviceConfig(Model):
    """One device."""

    id: Name
    """Unique in the gateway."""
    profile: Name
    """The device type."""
    connector: Name
    """The connector that hears it."""
    address: str = Field(min_length=1, max_length=512)
    """What the connector calls it: topic, path, unit id, node id; `*` for the only device of a serial line."""
    location: str = Field(default="", max_length=256)
    """Where it stands, for people: `building-3/floor-2`."""
    drill: bool = False
    """A training device: its alarms are marked as drill and are never taken for real ones."""


class OutboxConfig(Model):
    """The disk buffer."""

    budget_mb: int = Field(default=400, ge=4, le=1_000_000)
    """Of the outbox and its journal, in 10⁶ bytes; beyond it the oldest telemetry is thinned, never alarms."""
    commit_linger_ms: int = Field(default=0, ge=0, le=100)
    """Telemetry waits this long for company before a commit, which spares an SD card; alarms never wait."""


class HealthConfig(Model):
    """What the gateway's own health is measured against."""

    written_mb_day: int = Field(default=1000, ge=1, le=10_000_000)
    """What may be written to the disk a day, in 10⁶ bytes; an SD card of 32 GB bears some 1,000 for ten years."""


class MetricsConfig(Model):
    """Prometheus metrics of the agent."""

    bind: str = "127.0.0.1:9464"
    """Loopback address and port."""

    @model_validator(mode="after")
    def _loopback_only(self) -> Self:
        host, _ = split_bind(self.bind, 9464)
        if not is_loopback(host):
            raise ValueError(f"bind {self.bind!r}: metrics are served on loopback only")
        return self


class GatewayConfig(Model):
    """The whole file."""

    gateway: Name
    """The gateway's id, as the cloud knows it."""
    state_dir: Path
    """Where the outbox lives; one agent at a time."""
    profiles_dir: Path | None = None
    """More profiles, beside those that come with the agent; the same name replaces."""
    managed: bool = False
    """Whether connectors, devices, location, outbox and metrics come from the cloud; then the first two may not stand
    here, and the others are what holds where the cloud's document says nothing."""
    location: str = Field(default="", max_length=256)
    """Where the gateway stands, for people."""
    uplink: UplinkConfig
    connectors: tuple[ConnectorConfig, ...] = Field(default=(), max_length=256)
    devices: tuple[DeviceConfig, ...] = Field(default=(), max_length=10_000)
    outbox: OutboxConfig = OutboxConfig()
    health: HealthConfig = HealthConfig()
    metrics: MetricsConfig | None = None

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        names = [connector.name or connector.kind for connector in self.connectors]
        _no_repeat("connectors", names)
        _no_repeat("devices", [device.id for device in self.devices])
        for device in self.devices:
            if device.id == self.gateway:
                raise ValueError(f"devices: {device.id!r} is the gateway's own id")
            if device.connector not in names:
                raise ValueError(
                    f"devices {device.id!r}: no connector {device.connector!r}{nearest(device.connector, names)}"
                )
        _no_repeat("devices", [f"{device.address} on {device.connector}" for device in self.devices])
        return self


def _no_repeat(where: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: {name!r} stands twice")
        seen.add(name)
