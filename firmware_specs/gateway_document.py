"""The contract of a gateway's configuration as the cloud sends it: the tables of `gateway.toml` but its identity.

Owns what may stand in such a document, how it is joined with the file that the gateway has of its own, and the checks
that need profiles. Both sides use the same, so that what the cloud lets pass the gateway can serve. Certificates, keys
and passwords stay where they are, in the gateway's own files. Pure: reads no file.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, Field

from firmware_specs.errors import ConfigError, nearest
from firmware_specs.gateway_file import (
    MQTT_PORTS,
    ConnectorConfig,
    DeviceConfig,
    GatewayConfig,
    MetricsConfig,
    MqttConfig,
    OutboxConfig,
    split_url,
)
from firmware_specs.layouts import NamedCodec, NodesCodec
from firmware_specs.tomlfile import Model, parse_table, validate, validate_part

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from firmware_specs.errors import ProfileError
    from firmware_specs.schema import Profile

HASH_DIGITS: Final = 16
FROM_CLOUD: Final = ("connectors", "devices")
"""Tables that a managed gateway's own file may not have."""
_JOINED: Final = ("uplink", "outbox", "metrics")
_IDENTITY: Final = ("gateway", "state_dir", "profiles_dir", "managed")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERIAL_ONLY: Final = frozenset({"nmea", "fleetsync", "nexedge"})


def _mqtt_url(url: str) -> str:
    split_url(url, MQTT_PORTS)
    return url


class UplinkChange(Model):
    """What the cloud may want of the way to it. What is left out is as the gateway's own file says."""

    url: Annotated[str, AfterValidator(_mqtt_url)] | None = None
    """`mqtts://host:8883`: where the gateway goes from now on; it comes back by itself when nobody answers there."""
    keepalive_s: int | None = Field(default=None, ge=5, le=3600)
    """See `gateway.toml`."""
    connect_timeout_s: float | None = Field(default=None, gt=0, le=120)
    """See `gateway.toml`."""
    ack_timeout_s: float | None = Field(default=None, gt=0, le=300)
    """See `gateway.toml`."""
    canary_s: float | None = Field(default=None, gt=0, le=80)
    """See `gateway.toml`."""
    backoff_max_s: float | None = Field(default=None, gt=0, le=600)
    """See `gateway.toml`."""


class GatewayDocument(Model):
    """A configuration from the cloud."""

    location: str = Field(default="", max_length=256)
    """Where the gateway stands, for people."""
    uplink: UplinkChange = UplinkChange()
    connectors: tuple[ConnectorConfig, ...] = Field(default=(), max_length=256)
    devices: tuple[DeviceConfig, ...] = Field(default=(), max_length=10_000)
    outbox: OutboxConfig = OutboxConfig()
    metrics: MetricsConfig | None = None


def hash_of(text: str) -> str:
    """What a document is known by: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def parse(text: str, name: Path | str) -> dict[str, Any]:
    """A document's tables. Raises ConfigError naming the line when it is not TOML."""
    return parse_table(text.encode("utf-8", "surrogatepass"), name)


def check_part(table: Mapping[str, Any], name: Path | str) -> None:
    """Check what there is of a document that is completed elsewhere. Raises ConfigError."""
    _check_identity(table, name)
    validate_part(table, name, GatewayDocument)


def join(base: Mapping[str, Any], document: Mapping[str, Any], name: Path | str) -> GatewayConfig:
    """A gateway's own file with a document in force. Raises ConfigError naming the document's key and the cause.

    A table of the document is joined key by key with the file's; everything else of the document replaces.
    """
    _check_identity(document, name)
    validate(document, name, GatewayDocument)
    joined = {**base, **document}
    for table in _JOINED:
        if table in base and table in document:
            joined[table] = {**base[table], **document[table]}
    return validate(joined, name, GatewayConfig)


def standalone(gateway: str, document: Mapping[str, Any], name: Path | str) -> GatewayConfig:
    """The same for whoever does not know the gateway's own file, such as the cloud."""
    base = {"gateway": gateway, "state_dir": ".", "managed": True, "uplink": {"url": "mqtts://uplink.invalid"}}
    return join(base, document, name)


def _check_identity(document: Mapping[str, Any], name: Path | str) -> None:
    for key in _IDENTITY:
        if key in document:
            raise ConfigError(name, key, "is the gateway's own and stands in its gateway.toml, never in a document")


def check_devices(
    config: GatewayConfig, profiles: Mapping[str, Profile], refused: Collection[ProfileError], name: Path | str
) -> None:
    """Check that each device's profile exists and can be spoken on its connector. Raises ConfigError."""
    for index, connector in enumerate(config.connectors):
        for topic in connector.discover if isinstance(connector, MqttConfig) else ():
            if not _is_filter(topic):
                raise ConfigError(name, f"connectors[{index}].discover", f"{topic!r} is not a topic filter")
    kinds = {connector.name or connector.kind: connector.kind for connector in config.connectors}
    for index, device in enumerate(config.devices):
        profile = profiles.get(device.profile)
        if profile is None:
            broken = next((e for e in refused if e.file.endswith(f"/{device.profile}.toml")), None)
            why = str(broken) if broken else f"no profile {device.profile!r}{nearest(device.profile, profiles)}"
            raise ConfigError(name, f"devices[{index}].profile", why)
        kind = kinds[device.connector]
        codec = profile.codec
        serial_only = isinstance(codec, NamedCodec) and (codec.name in _SERIAL_ONLY) != (kind == "serial")
        if isinstance(codec, NodesCodec) != (kind == "opcua") or serial_only:
            why = f"a device of profile {device.profile!r} cannot be on a connector of kind {kind!r}"
            raise ConfigError(name, f"devices[{index}].connector", why)
        if kind == "mqtt" and not _is_filter(device.address):
            why = f"{device.address!r} is not a topic or topic filter"
            raise ConfigError(name, f"devices[{index}].address", why)


def _is_filter(address: str) -> bool:
    """Whether it can be subscribed to: wildcards stand alone in their level, `#` in the last one (MQTT 5, 4.7.1).

    A broker may end the connection for a control character (1.5.4), and with it all that the connector hears.
    """
    *levels, last = address.split("/")
    return not _CONTROL.search(address) and not any(
        "#" in level or ("+" in level and level != "+") for level in (*levels, "" if last == "#" else last)
    )
