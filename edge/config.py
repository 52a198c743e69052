"""The gateway's configuration: `gateway.toml`, read and checked once against its contract.

Owns the reading: the hash of the bytes, defaults of names, and relative paths, which count from the file's folder.
The keys are `firmware_specs.gateway_file`'s; that a device's profile exists is checked where profiles are loaded
(`edge/binding.py`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from firmware_specs.errors import ConfigError
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
from firmware_specs.tomlfile import parse_toml, read_file

__all__ = [
    "CoapConfig", "ConnectorConfig", "DeviceConfig", "GatewayConfig", "HealthConfig", "MetricsConfig",
    "MqttConfig", "OpcuaConfig", "SerialConfig", "UplinkConfig", "is_loopback",
    "load_config", "read_secret", "split_bind", "split_url",
]  # fmt: skip
_M = TypeVar("_M", bound=BaseModel)


def load_config(path: Path) -> tuple[GatewayConfig, str]:
    """The configuration and the hash of the file's bytes. Raises ConfigError naming the file, key and cause."""
    data = read_file(path)
    config = parse_toml(data, path, GatewayConfig)
    named = config.model_copy(update={"connectors": tuple(_named(c) for c in config.connectors)})
    return _absolute(named, path.absolute().parent), hashlib.sha256(data).hexdigest()[:16]


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
