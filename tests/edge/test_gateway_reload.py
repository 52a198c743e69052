"""A running agent and its configuration: changed, unchanged and wrong; one agent a state folder."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paho.mqtt import subscribe

from edge.gateway import Gateway
from firmware_specs.errors import ConfigError
from firmware_specs.wire import Reported, Status, decode_reported, decode_status
from tests.support import free_port, wait_for

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess

EDGE = str(Path(sys.executable).with_name("patrol-edge"))
pytestmark = [pytest.mark.system, pytest.mark.peer]


def write(path: Path, south: int, north: int, *devices: str, profile: str = "generic-temperature-json") -> None:
    path.write_text(
        f'gateway = "gw-1"\nstate_dir = "state"\n[uplink]\nurl = "mqtt://127.0.0.1:{north}"\n'
        f'[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{south}"\n'
        + "".join(
            f'[[devices]]\nid = "{d}"\nprofile = "{profile}"\nconnector = "mqtt"\naddress = "s/{d}"\n' for d in devices
        )
    )


def retained(port: int, what: str) -> bytes:
    message = subscribe.simple(f"patrolgrid/v1/gw-1/{what}", port=port)  # type: ignore[no-untyped-call]
    return bytes(message.payload)


def reported(port: int) -> Reported:
    return decode_reported(retained(port, "reported"))


def status(port: int) -> Status:
    return decode_status(retained(port, "status"))


async def test_a_restart_by_hand_waits_for_a_change_that_is_under_way(tmp_path: Path) -> None:
    """Else both begin the connector, and two of it run."""
    config = tmp_path / "gateway.toml"
    write(config, free_port(), free_port(), "a")
    agent = Gateway(config)
    async with agent.changing:
        restart = asyncio.create_task(agent.restart_connector("mqtt"))
        done, _ = await asyncio.wait({restart}, timeout=0.1)
        assert not done
    with pytest.raises(ConfigError, match="'mqtt' is not running"):
        await restart


def test_reload_applies_what_changed_and_keeps_the_last_good(
    mosquitto: StartMosquitto, start_process: StartProcess, tmp_path: Path
) -> None:
    south, north = mosquitto().port, mosquitto().port
    config = tmp_path / "gateway.toml"
    write(config, south, north, "a")
    agent = start_process(EDGE, "run", "--config", str(config))
    wait_for(lambda: "link up" in agent.text(), 15, "the agent")
    assert {d.id for d in reported(north).devices} == {"a", "gw-1"}
    ups = agent.text().count("link up")

    config.write_text(config.read_text())
    write(config, south, north, "a", "b")
    wait_for(lambda: len(reported(north).devices) == 3, 10, "the new device")
    assert reported(north).version == 2
    wait_for(lambda: agent.text().count("link up") == ups + 1, 10, "the connector that changed")

    write(config, south, north, "a", "b", "c", profile="generic-temprature-json")
    wait_for(lambda: status(north).degraded, 10, "the refusal")
    assert 'did you mean "generic-temperature-json"' in status(north).degraded
    assert reported(north).version == 2

    second = subprocess.run([EDGE, "run", "--config", str(config)], capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    write(config, south, north, "a", "b")
    wait_for(lambda: not status(north).degraded or agent.text().count("configuration") > 1, 40, "the good one again")
    second = subprocess.run([EDGE, "run", "--config", str(config)], capture_output=True, text=True, check=False)
    assert "another agent is running on it" in second.stderr
    assert second.returncode == 2
    assert agent.stop() == 0
    assert not status(north).online
