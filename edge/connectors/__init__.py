"""South side: one module a protocol; bytes or nodes in, samples out.

Owns the table of kinds. A kind's module, and the library that it needs, loads only when it is configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from edge.connectors.base import unnoted

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from edge.config import CoapConfig, ConnectorConfig, MqttConfig, OpcuaConfig, SerialConfig
    from edge.connectors.base import Connector, DeviceBinding, Noted

    Builder = Callable[..., Connector]


class Shared(NamedTuple):
    """What connectors of one gateway share. marks: of messages that are on disk, older runs included.

    noted: told of addresses that no device has.
    """

    gateway: str
    marks: deque[int]
    noted: Noted = unnoted


def _mqtt(config: MqttConfig, devices: Sequence[DeviceBinding], shared: Shared) -> Connector:
    from edge.connectors.mqtt import MqttConnector  # noqa: PLC0415 - loads paho

    return MqttConnector(config, devices, f"{shared.gateway}-{config.name}", shared.marks, shared.noted)


def _coap(config: CoapConfig, devices: Sequence[DeviceBinding], shared: Shared) -> Connector:
    from edge.connectors.coap import CoapConnector  # noqa: PLC0415 - loads aiocoap

    return CoapConnector(config, devices, shared.noted)


def _serial(config: SerialConfig, devices: Sequence[DeviceBinding], shared: Shared) -> Connector:
    from edge.connectors.serial import SerialConnector  # noqa: PLC0415 - loads pyserial

    return SerialConnector(config, devices, shared.noted)


def _opcua(config: OpcuaConfig, devices: Sequence[DeviceBinding], shared: Shared) -> Connector:
    from edge.connectors.opcua import OpcuaConnector  # noqa: PLC0415 - loads asyncua

    return OpcuaConnector(config, devices, shared.noted)


CONNECTORS: Final[dict[str, Builder]] = {"mqtt": _mqtt, "coap": _coap, "serial": _serial, "opcua": _opcua}


def build_connector(config: ConnectorConfig, devices: Sequence[DeviceBinding], shared: Shared) -> Connector:
    """The connector that a table of `gateway.toml` describes. Raises ProfileError when a device cannot be on it."""
    return CONNECTORS[config.kind](config, devices, shared)
