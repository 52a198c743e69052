"""An OPC UA server for the connector's tests, run as a process of its own so that it can be stopped and killed.

`python opcua_server.py PORT [CERTIFICATE KEY [USER PASSWORD]]`: two doors, `ns=2;s=door-1` and `ns=2;s=door-2`, whose
variables any client may write.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager


class OneUser(UserManager):
    def __init__(self, name: str, password: str) -> None:
        self._known = (name, password)

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: object = None
    ) -> User | None:
        return User(role=UserRole.Admin) if (username, password) == self._known else None


async def main(port: str, *rest: str) -> None:
    logging.disable(logging.CRITICAL)
    server = Server(user_manager=OneUser(rest[2], rest[3]) if len(rest) == 4 else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    if rest:
        server.set_security_policy(
            [
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
            ]
        )
        await server.load_certificate(rest[0])
        await server.load_private_key(rest[1])
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:patrolgrid:test-doors")
    for number in (1, 2):
        door = f"door-{number}"
        folder = await server.nodes.objects.add_folder(
            ua.NodeId.from_string(f"ns=2;s={door}"), ua.QualifiedName(door, 2)
        )
        for name, first in (("Open", False), ("Forced", False), ("Credential", "")):
            if number == 2 and name == "Credential":
                continue
            node_id = ua.NodeId.from_string(f"ns=2;s={door}.{name}")
            variable = await folder.add_variable(node_id, ua.QualifiedName(name, 2), first)
            await variable.set_writable()
    async with server:
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
