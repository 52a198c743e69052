"""Serial lines by real ptys: captures in bursts, unplugging, and the errors a technician reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from line_support import NMEA, captures, gpsd_fixes, running
from support import wait_until

from edge.config import SerialConfig
from edge.connectors.base import DeviceBinding
from edge.connectors.serial import SerialConnector
from firmware_specs.errors import LinkError
from firmware_specs.readings import Position

if TYPE_CHECKING:
    from pathlib import Path

    from line_support import Memory, SerialPair

pytestmark = pytest.mark.peer
GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"


def gnss(port: Path | str, **more: float) -> SerialConnector:
    config = SerialConfig.model_validate({"name": "gps", "kind": "serial", "port": str(port), **more})
    return SerialConnector(config, [DeviceBinding("gps-1", NMEA, "*")])


def test_a_burst_of_80_kilobytes_is_read_whole(line: SerialPair, memory: Memory) -> None:
    log = next(log for log in captures() if log.stem == "telit-he910")

    async def scenario() -> None:
        async with running(gnss(line.port), memory):
            await asyncio.to_thread(line.write, log.read_bytes())
            await wait_until(lambda: len(memory.heard) >= 1558, 20, "every sentence")

    asyncio.run(scenario())
    assert not memory.refused
    places = [p for p in memory.values("gps-1", "position") if isinstance(p, Position)]
    for lat, lon in gpsd_fixes(log):
        assert any(abs(lat - p.lat) <= 1e-6 and abs(lon - p.lon) <= 1e-6 for p in places)


def test_an_unplugged_adapter_is_a_link_error_and_reopens_by_its_path(line: SerialPair, memory: Memory) -> None:
    async def scenario() -> str:
        connector = gnss(line.port)
        async with running(connector, memory) as task:
            line.write(GGA)
            await wait_until(lambda: memory.heard, 10, "a sentence")
            line.unplug()
            await wait_until(task.done, 10, "the end of the run")
            with pytest.raises(LinkError) as gone:
                await task
        line.plug_in()
        memory.heard.clear()
        async with running(connector, memory):
            line.write(GGA)
            await wait_until(lambda: memory.heard, 10, "a sentence after plugging in again")
        return str(gone.value)

    message = asyncio.run(scenario())
    assert message.startswith(f"{line.port}: the port went away: ")
    assert "\n" not in message


def test_a_missing_port_is_named_in_one_line(tmp_path: Path, memory: Memory) -> None:
    with pytest.raises(LinkError) as error:
        asyncio.run(gnss(tmp_path / "ttyNONE").run(memory, lambda: None))
    assert str(error.value) == f"{tmp_path}/ttyNONE: no such port"
