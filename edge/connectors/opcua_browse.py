"""Looking through an OPC UA server for folders that could be devices.

Owns the walk: from the Objects folder down, bounded in depth, in nodes and in time. A folder is told when it has
variables below it; which profile that is, is judged by their names and values elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge.connectors.opcua_link import ODDITIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from edge.config import OpcuaConfig
    from edge.connectors.base import Noted

DEPTH: Final = 4
MAX_FOLDERS: Final = 300
MAX_VARIABLES: Final = 40
AGAIN_S: Final = 300.0
_OBJECT, _VARIABLE = 1, 2
_STANDARD: Final = 0
"""The namespace of what every server has: itself, its types."""


async def browse(client: Any, config: OpcuaConfig, devices: Collection[str], noted: Noted) -> None:  # noqa: ANN401 - asyncua's client
    """Note the folders that no device has, now and every five minutes, until cancelled; a refusal ends one round."""
    from asyncua.ua.uaerrors import UaError  # noqa: PLC0415 - loaded by now

    while True:
        with contextlib.suppress(UaError, TimeoutError, *ODDITIES):
            async with asyncio.timeout(config.deadline_s):
                await _round(client, config, devices, noted)
        await asyncio.sleep(AGAIN_S)


async def _round(client: Any, config: OpcuaConfig, devices: Collection[str], noted: Noted) -> None:  # noqa: ANN401
    waiting = deque([(client.nodes.objects, 0)])
    looked = 0
    while waiting and looked < MAX_FOLDERS:
        node, depth = waiting.popleft()
        looked += 1
        children = await node.get_children_descriptions()
        variables = [child for child in children if int(child.NodeClass) == _VARIABLE][:MAX_VARIABLES]
        address = node.nodeid.to_string()
        if variables and depth and address not in devices:
            values = await client.read_values([client.get_node(child.NodeId) for child in variables])
            pairs = dict(_plain(variables, values))
            noted(config.name, config.kind, address, msgspec.json.encode(pairs))
        if depth < DEPTH:
            waiting += [
                (client.get_node(child.NodeId), depth + 1) for child in children
                if int(child.NodeClass) == _OBJECT and child.NodeId.NamespaceIndex != _STANDARD
            ]  # fmt: skip


def _plain(variables: list[Any], values: list[Any]) -> Iterator[tuple[str, object]]:
    for child, value in zip(variables, values, strict=False):
        if isinstance(value, bool | int | float):
            yield child.BrowseName.Name, value
        elif isinstance(value, str):
            yield child.BrowseName.Name, value[:100]
