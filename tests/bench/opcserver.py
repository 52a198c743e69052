"""An OPC UA server with one door, for the agent to subscribe to. Usage: opcserver.py PORT."""

from __future__ import annotations

import asyncio
import sys

from asyncua import ua
from asyncua.server.server import Server


async def main() -> None:
    """Serve until killed."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:bench:doors")
    door = await server.nodes.objects.add_folder(ua.NodeId.from_string("ns=2;s=door"), "2:door")
    for name, value in (("Open", False), ("Forced", False), ("Credential", "")):
        await door.add_variable(ua.NodeId.from_string(f"ns=2;s=door.{name}"), f"2:{name}", value)
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
