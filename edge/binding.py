"""Joins the configuration with the profiles: which device of which type is heard by which connector.

Owns the check that every device's profile exists and can be spoken on its connector. Reads files, opens nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.config import GatewayConfig, load_config
from edge.connectors.base import DeviceBinding
from firmware_specs.errors import ConfigError, ProfileError
from firmware_specs.gateway_document import check_devices
from firmware_specs.load import load_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge.config import Document
    from firmware_specs.schema import Profile

GATEWAY_PROFILE: Final = "patrolgrid-gateway"


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


def make_plan(path: Path, document: Document | None = None) -> Plan:
    """Read the configuration and all profiles. document: see `load_config`.

    Raises ConfigError naming the file, the key and the cause.
    """
    config, config_hash, name = load_config(path, document)
    folders = (config.profiles_dir,) if config.profiles_dir else ()
    profiles, refused = load_profiles(*folders)
    kinds = {connector.name: connector.kind for connector in config.connectors}
    if "opcua" in kinds.values() and importlib.util.find_spec("asyncua") is None:
        index = list(kinds.values()).index("opcua")
        how = "pip install 'patrolgrid[edge,opcua]'"
        raise ConfigError(name, f"connectors[{index}].kind", f"OPC UA is not installed; {how}")
    check_devices(config, profiles, refused, name)
    devices: dict[str, list[DeviceBinding]] = {connector: [] for connector in kinds}
    by_device = {config.gateway: profiles[GATEWAY_PROFILE]} if GATEWAY_PROFILE in profiles else {}
    for device in config.devices:
        profile = profiles[device.profile]
        devices[device.connector].append(DeviceBinding(device.id, profile, device.address))
        by_device[device.id] = profile
    digest = hashlib.sha256(config_hash.encode())
    for profile_name in sorted(profiles):
        digest.update(repr(profiles[profile_name]).encode())
    bound = {connector: tuple(bindings) for connector, bindings in devices.items()}
    return Plan(config, digest.hexdigest()[:16], bound, by_device, tuple(refused), profiles)
