"""An OPC UA server for the connector's tests, run as a process of its own so that it can be stopped and killed.

`python opcua_server.py PORT [CERTIFICATE KEY [USER PASSWORD]]`: two doors, `ns=2;s=door-1` and `ns=2;s=door-2`, whose
variables any client may write; SIGUSR1 adds a third.
"""

from __future__ import annotations

import asyncio
import logging
import signal
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


async def add_door(server: Server, door: str, *names: str) -> None:
    folder_id = ua.NodeId.from_string(f"ns=2;s={door}")
    folder = await server.nodes.objects.add_folder(folder_id, ua.QualifiedName(door, 2))
    for name in names:
        node_id = ua.NodeId.from_string(f"ns=2;s={door}.{name}")
        first = "" if name == "Credential" else False
        variable = await folder.add_variable(node_id, ua.QualifiedName(name, 2), first)
        await variable.set_writable()


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
    await add_door(server, "door-1", "Open", "Forced", "Credential")
    await add_door(server, "door-2", "Open", "Forced")
    more = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, more.set)
    async with server:
        print("ready", flush=True)
        await more.wait()
        await add_door(server, "door-3", "Open")
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
