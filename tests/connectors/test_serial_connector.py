"""Serial lines by real ptys: captures in bursts, unplugging, and the errors a technician reads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge.config import SerialConfig
from edge.connectors import serial
from edge.connectors.base import DeviceBinding
from edge.connectors.serial import SerialConnector
from firmware_specs.errors import LinkError
from firmware_specs.readings import Position
from tests.connectors.line_support import NMEA, captures, gpsd_fixes, profile, running
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.connectors.line_support import Memory, SerialPair

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


def test_several_radios_share_a_line_and_strangers_are_refused(line: SerialPair, memory: Memory) -> None:
    metrics = "position@ status! emergency?"
    radio = profile({"kind": "named", "name": "nexedge", "emergency_statuses": ["255"]}, metrics=metrics)
    config = SerialConfig.model_validate({"name": "radio", "kind": "serial", "port": str(line.port)})
    bindings = [DeviceBinding("guard-2", radio, "U00002"), DeviceBinding("guard-3", radio, "3")]
    traffic = (
        b"$PKNDS,114400,A,4954.1450,N,11923.6043,W,001.4,356.8,130223,19.20,W00,U00002,255,00,*29\r\n"
        b"\x02gI0U00003U00003\x03\x02gE0000000090000009990002\x03"
    )

    async def scenario() -> None:
        async with running(SerialConnector(config, bindings), memory):
            line.write(traffic)
            await wait_until(lambda: len(memory.heard) == 2 and memory.refused, 10, "both radios and the stranger")

    asyncio.run(scenario())
    assert memory.values("guard-2", "emergency") == [True]
    assert ("guard-3", []) in [(device, list(samples)) for device, samples in memory.heard]
    assert [(device, str(error)) for device, _, error in memory.refused] == [
        ("radio", "radio: byte 0: unit U00009 is not configured on this line")
    ]


def test_the_line_waits_when_the_gateway_cannot_take_more(line: SerialPair, memory: Memory) -> None:
    """Nothing is lost meanwhile: the rest waits in the port."""

    async def scenario() -> None:
        memory.open.clear()
        async with running(gnss(line.port), memory):
            await asyncio.to_thread(line.write, GGA)
            await wait_until(lambda: memory.heard, 10, "the first sentence")
            await asyncio.to_thread(line.write, GGA * 20)
            done, _ = await asyncio.wait([asyncio.create_task(memory.open.wait())], timeout=0.3)
            assert not done
            assert len(memory.heard) == 1
            memory.open.set()
            await wait_until(lambda: len(memory.heard) == 21, 10, "the others")

    asyncio.run(scenario())


def test_a_silent_line_is_no_error_unless_configured(line: SerialPair, memory: Memory) -> None:
    async def scenario() -> None:
        async with running(gnss(line.port), memory) as quiet:
            with pytest.raises(LinkError, match=r"nothing came for \d+ s"):
                await gnss(line.far, silence_s=0.2).run(memory, lambda: None)
            assert not quiet.done()

    asyncio.run(scenario())


def test_a_port_in_use_and_a_file_that_is_no_port_are_named_in_one_line(
    line: SerialPair, memory: Memory, tmp_path: Path
) -> None:
    no_port = tmp_path / "ttyFILE"
    no_port.write_text("not a port")

    async def scenario() -> list[str]:
        messages = []
        async with running(gnss(line.port), memory):
            for port in (line.port, no_port):
                with pytest.raises(LinkError) as refused:
                    await gnss(port).run(memory, lambda: None)
                messages.append(str(refused.value))
        return messages

    assert asyncio.run(scenario()) == [f"{line.port}: in use by another program", f"{no_port}: not a serial port"]


def test_a_path_that_leads_elsewhere_means_that_the_adapter_was_plugged_in_again(
    line: SerialPair, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "PATH_CHECK_S", 0.1)

    async def scenario() -> str:
        async with running(gnss(line.port), memory) as task:
            line.port.unlink()
            line.port.symlink_to(line.far.resolve())
            await wait_until(task.done, 10, "the end of the run")
            with pytest.raises(LinkError) as gone:
                await task
        return str(gone.value)

    assert asyncio.run(scenario()) == f"{line.port}: the path leads to another port now"


def test_libraries_load_only_when_their_connector_is_configured() -> None:
    program = (
        "import sys\n"
        "import edge.codecs, edge.connectors.serial, edge.connectors.coap, edge.connectors.opcua\n"
        "print([name for name in ('aiocoap', 'asyncua', 'serial', 'paho', 'cryptography') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
