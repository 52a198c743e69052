"""A door controller as an OPC UA server: one folder a door, with the variables that the door's profile names.

Security policies are explicit: asyncua's defaults would offer an open endpoint beside the closed ones.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncua import ua
from asyncua.server.server import Server

from firmware_specs.layouts import NodesCodec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.readings import Sample, Value
    from simulators.device import Device

Security = Literal["none", "basic256sha256"]
NAMESPACE: Final = "urn:patrolgrid:simulated-doors"
_VARIANTS: Final = {
    "bool": ua.VariantType.Boolean, "number": ua.VariantType.Double, "text": ua.VariantType.String,
}  # fmt: skip
_FIRST: Final[dict[ua.VariantType, Value]] = {
    ua.VariantType.Boolean: False, ua.VariantType.Double: 0.0, ua.VariantType.String: "",
}  # fmt: skip
_POLICIES: Final = {
    "none": ua.SecurityPolicyType.NoSecurity,
    "basic256sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
}


class OpcuaPeer:
    """A server for the doors it is given; their addresses are the node ids of their folders."""

    def __init__(
        self, url: str, doors: Sequence[Device], *, security: Security = "none", certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:  # fmt: skip
        """url: `opc.tcp://host:port`. certificate and key: DER or PEM, needed with any security but none."""
        self.url = url
        self._doors = {door.name: door for door in doors}
        self._security: Security = security
        self._files = (certificate, key)
        self._server: Server | None = None
        self._variables: dict[tuple[str, str], Any] = {}

    async def start(self) -> None:
        """Open the port. Raises OSError when it is taken."""
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_server_name("PatrolGrid simulated doors")
        server.set_security_policy([_POLICIES[self._security]])
        certificate, key = self._files
        if certificate and key:
            await server.load_certificate(str(certificate))
            await server.load_private_key(str(key))
        await server.register_namespace(NAMESPACE)
        for door in self._doors.values():
            await self._add(server, door)
        await server.start()
        self._server = server

    async def _add(self, server: Server, door: Device) -> None:
        codec = door.profile.codec
        if not isinstance(codec, NodesCodec):
            raise TypeError(f"{door.profile.profile}: codec {codec.kind!r} is not made of nodes")
        node_id = ua.NodeId.from_string(door.address)
        name = ua.QualifiedName(door.name, node_id.NamespaceIndex)
        folder = await server.nodes.objects.add_folder(node_id, name)
        for metric, browse_name in codec.nodes.items():
            variant = _VARIANTS[door.profile.metrics[metric].type]
            child = ua.NodeId.from_string(f"{door.address}.{browse_name}")
            self._variables[door.name, metric] = await folder.add_variable(
                child, ua.QualifiedName(browse_name, node_id.NamespaceIndex), ua.Variant(_FIRST[variant], variant)
            )

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Write the variables with the time of the change."""
        if self._server is None:
            return
        utc = datetime.fromtimestamp(at_ms / 1000, UTC)
        at = ua.DateTime(*utc.timetuple()[:6], utc.microsecond)
        for sample in samples:
            variable = self._variables.get((device.name, sample.metric))
            if variable is not None:
                variant = ua.Variant(sample.value, _VARIANTS[device.profile.metrics[sample.metric].type])
                await self._server.write_attribute_value(
                    variable.nodeid, ua.DataValue(variant, SourceTimestamp=at, ServerTimestamp=at)
                )

    async def stop(self) -> None:
        """Close the port; a client that hangs does not keep it open."""
        if self._server is not None:
            server, self._server = self._server, None
            async with asyncio.timeout(3):
                await server.stop()
