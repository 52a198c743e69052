"""The gateway's configuration: `gateway.toml`, read and checked once against its contract.

Owns the reading: the hash of the bytes, defaults of names, and relative paths, which count from the file's folder. A
managed gateway's file is joined with the cloud's document: the one in force unless another is given.
The keys are `firmware_specs.gateway_file`'s; that a device's profile exists is checked where profiles are loaded
(`edge/binding.py`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from edge.configure_keep import Keep
from firmware_specs.errors import ConfigError
from firmware_specs.gateway_document import FROM_CLOUD, join, parse
from firmware_specs.gateway_file import (
    CoapConfig,
    ConnectorConfig,
    DeviceConfig,
    GatewayConfig,
    HealthConfig,
    MetricsConfig,
    MqttConfig,
    OpcuaConfig,
    SerialConfig,
    UplinkConfig,
    is_loopback,
    split_bind,
    split_url,
)
from firmware_specs.tomlfile import parse_table, read_file, validate

__all__ = [
    "EMPTY", "CoapConfig", "ConnectorConfig", "DeviceConfig", "Document", "GatewayConfig", "HealthConfig", "Loaded",
    "MetricsConfig", "MqttConfig", "OpcuaConfig", "SerialConfig", "UplinkConfig", "in_force", "is_loopback",
    "load_config", "read_secret", "split_bind", "split_url",
]  # fmt: skip
_M = TypeVar("_M", bound=BaseModel)


class Document(NamedTuple):
    """The cloud's part of a managed gateway's configuration, and what errors call it."""

    name: str
    text: str


class Loaded(NamedTuple):
    """A configuration, the hash of all that it was read from, and what errors of its devices call it."""

    config: GatewayConfig
    hash: str
    name: str


def load_config(path: Path, document: Document | None = None) -> Loaded:
    """Read the configuration. document: for a managed gateway, in place of what is in force.

    Raises ConfigError naming the file, key and cause.
    """
    data = read_file(path)
    table = parse_table(data, path)
    base, folder = validate(table, path, GatewayConfig), path.absolute().parent
    if not base.managed:
        return Loaded(_whole(base, folder), hashlib.sha256(data).hexdigest()[:16], str(path))
    for key in FROM_CLOUD:
        if key in table:
            raise ConfigError(path, key, "come from the cloud on a managed gateway; take them out, or `managed`")
    name, text = document or in_force(folder / base.state_dir)
    joined = join(table, parse(text, name), name)
    return Loaded(_whole(joined, folder), hashlib.sha256(data + b"\0" + text.encode()).hexdigest()[:16], name)


def in_force(state_dir: Path) -> Document:
    """The cloud's document that is in force, an empty one before there is any. Raises ConfigError."""
    keep = Keep(state_dir)
    committed = keep.read().committed
    return Document(f"configuration {committed.version}", keep.text(committed)) if committed else EMPTY


EMPTY = Document("no configuration yet", "")


def _whole(config: GatewayConfig, folder: Path) -> GatewayConfig:
    """With every connector named and every path absolute."""
    return _absolute(config.model_copy(update={"connectors": tuple(_named(c) for c in config.connectors)}), folder)


def _named(connector: ConnectorConfig) -> ConnectorConfig:
    return connector if connector.name else connector.model_copy(update={"name": connector.kind})


def _absolute(model: _M, folder: Path) -> _M:
    """The model with every relative path joined to the folder."""
    changed: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, BaseModel):
            changed[name] = _absolute(value, folder)
        elif isinstance(value, tuple):
            changed[name] = tuple(_absolute(v, folder) if isinstance(v, BaseModel) else v for v in value)
    return model.model_copy(update=changed)


def read_secret(path: Path, where: str) -> str:
    """The first line of a secret's file. Raises ConfigError that names the file and never the secret."""
    try:
        text = read_file(path).decode("utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError(path, where, "not UTF-8") from e
    line = text.partition("\n")[0].strip("\r")
    if not line:
        raise ConfigError(path, where, "the file's first line is empty")
    return line
