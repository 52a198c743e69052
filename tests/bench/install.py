"""What the agent costs where it lives: disk of a fresh installation, memory and processor when nothing happens.

The installation goes into an environment of its own, from the package index that pip is set up for.
"""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import free_port, wait_for

from .contenders import gateway_toml
from .results import ROOT, Cell, Result, Table
from .rig import Process, broker, free_ports, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_FRAMEWORKS = {"fastapi", "starlette", "flask", "django", "tornado", "uvicorn", "sanic", "bottle", "aiohttp"}
SIZE_MB, RESIDENT_MIB, RESIDENT_OPCUA_MIB, IDLE_PERCENT = 80.0, 90.0, 150.0, 2.0


def run(*, quick: bool) -> Result:
    """Install, start, look."""
    rows: list[list[Cell]] = []
    with scratch() as folder:
        fresh = folder / "fresh"
        venv.create(fresh, with_pip=True)
        bare = _tree_bytes(fresh)
        packages, frameworks = _install(fresh, "edge")
        size_mb = (_tree_bytes(fresh) - bare) / 1e6
        rows.append(["pip install .[edge], MB beyond an empty environment", size_mb, f"≤ {SIZE_MB:.0f}"])
        rows.append(["distributions installed", packages, ""])
        rows.append(["web frameworks among them", ", ".join(sorted(frameworks)) or "none", "none"])
        program = fresh / "bin" / "patrol-edge"
        for opcua, limit in ((False, RESIDENT_MIB), (True, RESIDENT_OPCUA_MIB)):
            if opcua:
                _install(fresh, "edge,opcua")
                whole_mb = (_tree_bytes(fresh) - bare) / 1e6
                rows.append(["with the extra opcua, MB beyond an empty environment", whole_mb, ""])
            kinds = "MQTT, serial, CoAP" + (", OPC UA" if opcua else "")
            with _agent(folder / f"run-{opcua}", program, opcua=opcua) as agent:
                idle_s = 10.0 if quick else 60.0
                settle = threading.Event()
                settle.wait(5)
                before = agent.cpu_s()
                settle.wait(idle_s)
                busy = 100 * (agent.cpu_s() - before) / idle_s
                rows.append([f"resident MiB, 500 devices: {kinds}", agent.resident_mib(), f"≤ {limit:.0f}"])
                rows.append([f"idle, % of a core: {kinds}", busy, f"≤ {IDLE_PERCENT:.0f}"])
    return Result([Table("What the agent costs", ("", "measured", "to reach"), rows)])


def _tree_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _install(folder: Path, extras: str) -> tuple[int, set[str]]:
    """Install into an environment; how many distributions it has then, and the web frameworks among them."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", f"{ROOT}[{extras}]"], check=True, stdout=sys.stderr)
    listed = subprocess.run([*pip, "list", "--format", "freeze"], check=True, capture_output=True, text=True).stdout
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    return len(names), names & WEB_FRAMEWORKS


@contextlib.contextmanager
def _agent(folder: Path, program: Path, *, opcua: bool) -> Iterator[Process]:
    folder.mkdir()
    south_port, north_port = free_ports(2)
    leader, follower = pty.openpty()
    text = gateway_toml(folder, south_port, north_port)
    text += f'[[connectors]]\nkind = "coap"\nbind = "127.0.0.1:{free_port()}"\n'
    text += f'[[connectors]]\nkind = "serial"\nport = "{os.ttyname(follower)}"\n'
    text += '[[devices]]\nid = "gnss"\nprofile = "generic-nmea-gnss"\nconnector = "serial"\naddress = "*"\n'
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, leader)
        stack.callback(os.close, follower)
        stack.enter_context(broker(folder, "south", south_port))
        stack.enter_context(broker(folder, "north", north_port))
        if opcua:
            port = free_port()
            text += f'[[connectors]]\nkind = "opcua"\nurl = "opc.tcp://127.0.0.1:{port}"\n'
            text += '[[devices]]\nid = "door"\nprofile = "generic-door-opcua"\nconnector = "opcua"\n'
            text += 'address = "ns=2;s=door"\n'
            server = [sys.executable, str(Path(__file__).with_name("opcserver.py")), str(port)]
            stack.enter_context(Process(server, folder / "opcua.log"))
        config = folder / "gateway.toml"
        config.write_text(text)
        agent = stack.enter_context(Process([str(program), "run", "--config", str(config)], folder / "edge.log"))
        wait_for((folder / "edge").exists, 30, f"the agent: {agent.running.text()[-500:]}")
        yield agent
