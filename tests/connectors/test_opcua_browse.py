"""Folders of an OPC UA server that no device has are found, with values by which a profile is guessed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.config import OpcuaConfig
from edge.connectors.base import DeviceBinding
from edge.connectors.opcua import OpcuaConnector
from edge.discover import suggest
from firmware_specs.load import load_profiles
from tests.connectors.line_support import running
from tests.support import free_port, wait_for, wait_until

if TYPE_CHECKING:
    from tests.connectors.line_support import Memory
    from tests.support import StartProcess

pytestmark = pytest.mark.peer


def test_folders_that_look_like_doors_are_offered(memory: Memory, start_process: StartProcess) -> None:
    port = free_port()
    server = start_process(sys.executable, Path(__file__).with_name("opcua_server.py"), str(port))
    wait_for(lambda: "ready" in server.text() or not server.alive, 60, "the OPC UA server")
    heard: dict[str, bytes] = {}

    def noted(connector: str, kind: str, address: str, frame: bytes) -> None:
        assert (connector, kind) == ("doors", "opcua")
        heard[address] = frame

    profiles, _ = load_profiles()
    known = DeviceBinding("door-1", profiles["generic-door-opcua"], "ns=2;s=door-1")
    config = OpcuaConfig.model_validate(
        {"name": "doors", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "discover": True}
    )

    async def listen() -> None:
        async with running(OpcuaConnector(config, [known], noted), memory):
            await wait_until(lambda: heard, 20, "a folder")

    asyncio.run(listen())
    assert "ns=2;s=door-1" not in heard, "it has a device"
    names, _ = suggest(profiles.values(), "opcua", next(iter(heard.values())), 1)
    assert names == ("generic-door-opcua",), json.dumps({each: frame.decode() for each, frame in heard.items()})
