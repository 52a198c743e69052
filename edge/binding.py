"""Joins the configuration with the profiles: which device of which type is heard by which connector.

Owns the check that every device's profile exists and can be spoken on its connector. Reads files, opens nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.config import GatewayConfig, MqttConfig, load_config
from edge.connectors.base import DeviceBinding
from firmware_specs.errors import ConfigError, ProfileError, nearest
from firmware_specs.load import load_profiles
from firmware_specs.schema import NamedCodec, NodesCodec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from firmware_specs.schema import Profile

GATEWAY_PROFILE: Final = "patrolgrid-gateway"
_SERIAL_ONLY: Final = frozenset({"nmea", "fleetsync", "nexedge"})


class Plan(NamedTuple):
    """A configuration that can be served, whole.

    devices: bindings by connector. profiles: by device, the gateway's own included. refused: profiles that are not
    used, with the reason. hash: changes with anything that the plan was made from. known: all profiles by name.
    """

    config: GatewayConfig
    hash: str
    devices: dict[str, tuple[DeviceBinding, ...]]
    profiles: dict[str, Profile]
    refused: tuple[ProfileError, ...]
    known: Mapping[str, Profile] = MappingProxyType({})


def make_plan(path: Path) -> Plan:
    """Read the configuration and all profiles. Raises ConfigError naming the file, the key and the cause."""
    config, config_hash = load_config(path)
    folders = (config.profiles_dir,) if config.profiles_dir else ()
    profiles, refused = load_profiles(*folders)
    kinds = {connector.name: connector.kind for connector in config.connectors}
    if "opcua" in kinds.values() and importlib.util.find_spec("asyncua") is None:
        index = list(kinds.values()).index("opcua")
        how = "pip install 'patrolgrid[edge,opcua]'"
        raise ConfigError(path, f"connectors[{index}].kind", f"OPC UA is not installed; {how}")
    for index, connector in enumerate(config.connectors):
        for topic in connector.discover if isinstance(connector, MqttConfig) else ():
            if not _is_filter(topic):
                raise ConfigError(path, f"connectors[{index}].discover", f"{topic!r} is not a topic filter")
    devices: dict[str, list[DeviceBinding]] = {name: [] for name in kinds}
    by_device = {config.gateway: profiles[GATEWAY_PROFILE]} if GATEWAY_PROFILE in profiles else {}
    for index, device in enumerate(config.devices):
        profile = profiles.get(device.profile)
        if profile is None:
            broken = next((e for e in refused if e.file.endswith(f"/{device.profile}.toml")), None)
            why = str(broken) if broken else f"no profile {device.profile!r}{nearest(device.profile, profiles)}"
            raise ConfigError(path, f"devices[{index}].profile", why)
        _check_spoken(path, f"devices[{index}].connector", profile, kinds[device.connector])
        if kinds[device.connector] == "mqtt" and not _is_filter(device.address):
            raise ConfigError(path, f"devices[{index}].address", f"{device.address!r} is not a topic or topic filter")
        devices[device.connector].append(DeviceBinding(device.id, profile, device.address))
        by_device[device.id] = profile
    digest = hashlib.sha256(config_hash.encode())
    for name in sorted(profiles):
        digest.update(repr(profiles[name]).encode())
    bound = {name: tuple(bindings) for name, bindings in devices.items()}
    return Plan(config, digest.hexdigest()[:16], bound, by_device, tuple(refused), profiles)


def _is_filter(address: str) -> bool:
    """Whether it can be subscribed to (MQTT 5, 4.7.1): wildcards stand alone in their level, `#` in the last one."""
    *levels, last = address.split("/")
    return "\0" not in address and not any(
        "#" in level or ("+" in level and level != "+") for level in (*levels, "" if last == "#" else last)
    )


def _check_spoken(path: Path, key: str, profile: Profile, kind: str) -> None:
    codec = profile.codec
    if isinstance(codec, NodesCodec) != (kind == "opcua"):
        raise ConfigError(
            path, key, f"a device of profile {profile.profile!r} cannot be on a connector of kind {kind!r}"
        )
    if isinstance(codec, NamedCodec) and (codec.name in _SERIAL_ONLY) != (kind == "serial"):
        raise ConfigError(
            path, key, f"a device of profile {profile.profile!r} cannot be on a connector of kind {kind!r}"
        )
