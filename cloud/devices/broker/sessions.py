"""Telling the broker of changes, and ending a live session.

Owns both ways to reach it beside the folder. mosquitto takes a new revocation list on SIGHUP, for new connections only:
whoever is connected stays. So the cloud connects once under the client id of the revoked gateway, on its own listener,
where client ids may be chosen. MQTT has the broker end the older session, and the gateway's certificate does not let it
in again. Nobody else notices, and it works with any broker.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloud.ingest.link import client_of
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from cloud.config import BrokerConfig
    from cloud.devices.broker.settings import MosquittoConfig

COMMAND_WITHIN_S: Final = 15.0
ANSWER_WITHIN_S: Final = 5.0


def reload(settings: MosquittoConfig) -> None:
    """Have the broker read its files again. Raises LinkError when it was not told."""
    if settings.pid_file:
        _signal(settings.pid_file)
    elif settings.command:
        _command(settings.command)


def _signal(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip())
        # A number that another program has by now must not be signalled: SIGHUP would end it.
        program = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        if program != "mosquitto":
            raise LinkError(str(pid_file), f"process {pid} is {program}, not mosquitto")
        os.kill(pid, signal.SIGHUP)
    except ValueError as e:
        raise LinkError(str(pid_file), "holds no process number") from e
    except FileNotFoundError as e:
        raise LinkError(str(pid_file), "the broker does not run: no such file or process") from e
    except OSError as e:
        raise LinkError(str(pid_file), (e.strerror or str(e)).lower()) from e


def _command(command: str) -> None:
    argv = shlex.split(command)
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise LinkError(argv[0], f"did not end within {COMMAND_WITHIN_S:g} s") from e
    except OSError as e:
        raise LinkError(argv[0], (e.strerror or str(e)).lower()) from e
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise LinkError(argv[0], f"exit status {done.returncode}{': ' + said[-1][:200] if said else ''}")


def end(broker: BrokerConfig, gateway: str) -> None:
    """End the session of a gateway, if it has one; blocks. Raises LinkError when the broker does not let us."""
    answered = threading.Event()
    fault: list[str] = []

    def connected(
        _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            fault.append(f"connection refused: {reason}")
        answered.set()

    def lost(
        _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not answered.is_set():
            fault.append(f"connection lost: {reason}")
        answered.set()

    client = client_of(broker, gateway)
    client.on_connect = connected
    client.on_disconnect = lost
    try:
        host, port = broker.host_port
        client.connect(host, port, keepalive=10, clean_start=True)
    except (OSError, ValueError) as e:
        raise LinkError(broker.url, str(e) or type(e).__name__) from e
    client.loop_start()
    in_time = answered.wait(ANSWER_WITHIN_S)
    client.disconnect()
    client.loop_stop()
    if fault or not in_time:
        raise LinkError(broker.url, fault[0] if fault else f"no answer within {ANSWER_WITHIN_S:g} s")
