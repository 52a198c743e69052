"""The demo's brokers: mosquitto where it is installed, else the one that comes as a package, on loopback only.

Owns their configuration files but that of the gateways' mosquitto, which the cloud keeps: it knows a gateway by its
certificate. The package (rumqttd) has one listener for MQTT 3.1.1 and one for MQTT 5, so a broker has two urls, and
knows nobody; mosquitto speaks both on one port.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Final, NamedTuple

from firmware_specs.errors import LinkError

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
_SYSTEM_PATH: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


class BrokerPlan(NamedTuple):
    """A broker to start. argv: its command. url: for MQTT 3.1.1 clients; url5: for MQTT 5, perhaps the same."""

    argv: tuple[str, ...]
    port: int
    url: str
    url5: str
    program: str


def mosquitto() -> str | None:
    """The installed broker, also where only root's path has it."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_PATH)


def choose(wanted: str) -> str | None:
    """The program of the wanted broker (`auto`, `mosquitto`, `iotcore`), None for the package.

    Raises LinkError when mosquitto is wanted and not installed.
    """
    found = None if wanted == "iotcore" else mosquitto()
    if wanted == "mosquitto" and found is None:
        raise LinkError("broker", "mosquitto is not installed")
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on loopback that is free now."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """Different ports on loopback that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether nobody listens on a port of loopback."""
    with socket.socket(socket.AF_INET, kind) as s:
        if kind is socket.SOCK_STREAM:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def plan(directory: Path, name: str, port: int, program: str | None) -> BrokerPlan:
    """Write a broker's configuration file and say how it is started.

    program: the path of mosquitto, None for the package. Raises LinkError when there is neither.
    """
    if program:
        config = directory / f"{name}.conf"
        config.write_text(_mosquitto_conf(port), encoding="utf-8")
        url = f"mqtt://127.0.0.1:{port}"
        return BrokerPlan((program, "-c", str(config)), port, url, url, "mosquitto")
    port5 = free_port()
    config = directory / f"{name}.toml"
    config.write_text(_rumqttd_toml(port, port5), encoding="utf-8")
    argv = (sys.executable, "-P", "-m", "simulators.broker", str(config))
    return BrokerPlan(argv, port, f"mqtt://127.0.0.1:{port}", f"mqtt://127.0.0.1:{port5}", "iotcore")


def plan_uplink(config: Path, port: int, cloud_port: int, program: str) -> BrokerPlan:
    """How the gateways' broker is started with the configuration that the cloud keeps for it.

    url: for gateways, by TLS with their certificates. url5: for the cloud, a listener of its own.
    """
    return BrokerPlan(
        (program, "-c", str(config)), port, f"mqtts://127.0.0.1:{port}", f"mqtt://127.0.0.1:{cloud_port}", "mosquitto"
    )


def _mosquitto_conf(port: int) -> str:
    lines = [
        f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "set_tcp_nodelay true",
        "max_queued_messages 100000", "log_dest stderr", "log_type error", "log_type warning",
    ]  # fmt: skip
    if os.geteuid() == 0:
        # It would become another user, and a change of user ends the kernel's promise to end it with us.
        lines.insert(0, "user root")
    return "\n".join(lines) + "\n"


def _rumqttd_toml(port: int, port5: int) -> str:
    head = (
        "id = 0\n[router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 200\n"
        "max_segment_size = 104857600\nmax_segment_count = 10\n"
    )
    parts = [head]
    parts += [
        f'[{version}.1]\nname = {json.dumps(version)}\nlisten = "127.0.0.1:{listen}"\nnext_connection_delay_ms = 1\n'
        f"[{version}.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = {MAX_PAYLOAD_BYTES}\n"
        f"max_inflight_count = 100\ndynamic_filters = true\n"
        for version, listen in (("v4", port), ("v5", port5))
    ]
    return "".join(parts)


def serve(config: Path) -> None:
    """Run the packaged broker in this process until it is ended. Raises LinkError when the package is not there."""
    try:
        from iotcore.iotcore import IotCoreBroker  # noqa: PLC0415 - only where mosquitto is not
    except ImportError as e:
        raise LinkError("broker", "neither mosquitto nor the package iotcore is installed") from e
    logging.basicConfig(level="WARNING")
    # It logs each packet it routes as an error.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    IotCoreBroker(config_path=str(config)).run_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
