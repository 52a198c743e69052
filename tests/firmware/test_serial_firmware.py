"""Firmware over a serial line of two ptys, received by `rx` of lrzsz, a program that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge.config import SerialConfig
from edge.connectors.serial import SerialConnector
from firmware_specs.errors import LinkError
from firmware_specs.load import load_profile
from firmware_specs.readings import Sample
from firmware_specs.wire_fleet import UpdatePhase
from simulators.device import Device as SimulatedDevice
from simulators.peers.line import LinePeer
from tests.connectors.line_support import Memory
from tests.firmware.firmware_support import PROFILES, Repository, image, job, running, trust, write_config
from tests.support import Running, wait_for, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.support import StartProcess

pytestmark = [pytest.mark.peer]
RX = shutil.which("rx") or shutil.which("lrx")
SIZE = 20_000


def plug_in(start_process: StartProcess, tmp_path: Path) -> tuple[Path, Path, Running]:
    """The gateway's end and the device's end of a line."""
    if RX is None:
        pytest.skip("rx is not installed (Debian package lrzsz): nobody receives XMODEM")
    ours, theirs = tmp_path / "ttyOURS", tmp_path / "ttyTHEIRS"
    line = start_process("socat", f"pty,rawer,link={ours}", f"pty,rawer,link={theirs}")
    wait_for(lambda: ours.exists() and theirs.exists(), 5, "the line")
    return ours, theirs, line


class Device:
    """What speaks on the far end: JSON lines, and `rx` when it is told to update."""

    def __init__(self, port: Path, file: Path) -> None:
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self.file = file

    def say(self, text: str) -> None:
        os.write(self.fd, text.encode() + b"\n")

    def wait_for_update(self) -> None:
        heard = b""
        while b"update\r\n" not in heard:
            heard += os.read(self.fd, 100)

    def receive(self, pause_s: float = 0) -> Receiver:
        """`rx`, in place of the device's own program."""
        self.say("CRC mode: ready to receive. C")
        return Receiver(self.fd, self.file, pause_s)


class Receiver:
    """`rx` on a line.

    It speaks through pipes: on a pty its farewell flushes what it said last, which no real line loses.
    """

    def __init__(self, line: int, file: Path, pause_s: float) -> None:
        """pause_s: what each of its words takes on the line."""
        self._rx = subprocess.Popen(
            [str(RX), "--xmodem", "--with-crc", "--binary", str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        assert self._rx.stdin
        assert self._rx.stdout
        ends = ((line, self._rx.stdin.fileno(), 0.0), (self._rx.stdout.fileno(), line, pause_s))
        self._pumps = [threading.Thread(target=self._pump, args=each) for each in ends]
        for pump in self._pumps:
            pump.start()

    def _pump(self, source: int, sink: int, pause_s: float) -> None:
        with contextlib.suppress(OSError):
            while self._rx.poll() is None or select.select([source], [], [], 0)[0]:
                if select.select([source], [], [], 0.02)[0]:
                    data = os.read(source, 4096)
                    if not data:
                        return
                    time.sleep(pause_s)
                    os.write(sink, data)

    def end(self, *, kill: bool = False) -> int:
        """Its exit code."""
        if kill:
            self._rx.kill()
        code = self._rx.wait(10)
        for pump in self._pumps:
            pump.join(5)
        for pipe in (self._rx.stdin, self._rx.stdout):
            if pipe:
                pipe.close()
        return code


async def test_rx_receives_the_image_and_the_line_is_read_again(
    tmp_path: Path, repository: Repository, start_process: StartProcess
) -> None:
    data = image(SIZE)
    repository.add("fw/s-2.bin", data, "test-serial", "2.0.0")
    ours, theirs, _ = plug_in(start_process, tmp_path)
    connector = f'[[connectors]]\nname = "line"\nkind = "serial"\nport = "{ours}"\n'
    path = write_config(tmp_path, connector, {"s1": ("test-fw-serial", "line", "*")})
    trust(tmp_path, repository)
    async with running(path) as agent:
        device = Device(theirs, tmp_path / "received")
        device.say('{"n":1,"fire":false,"fw":"1.0.0"}')
        await wait_until(lambda: agent.states().get("s1"), 5, "the version in a frame")
        assert agent.states()["s1"].running == "1.0.0"
        agent.gateway.firmware.take(repository.order(job("s1", "fw/s-2.bin")))

        await asyncio.to_thread(device.wait_for_update)
        first = device.receive(pause_s=0.005)
        await wait_until(lambda: agent.states()["s1"].done > 500, 10, "the sending")
        await asyncio.to_thread(first.end, kill=True)
        await wait_until(lambda: agent.states()["s1"].reason, 20, "the try that failed")

        await asyncio.to_thread(device.wait_for_update)
        second = device.receive()
        await wait_until(lambda: agent.states()["s1"].phase is UpdatePhase.TRIAL, 15, "the wait for the device")
        assert await asyncio.to_thread(second.end) == 0
        assert device.file.read_bytes()[:SIZE] == data
        assert agent.states()["s1"].phase is UpdatePhase.TRIAL
        device.say('{"n":2,"fire":false,"fw":"2.0.0"}')
        state = await agent.outcome("s1")
        assert (state.phase, state.reason, state.running) == (UpdatePhase.COMMITTED, "", "2.0.0")
        assert agent.gateway.intake.frames_refused == 0, "what XMODEM said was not read as frames"
        os.close(device.fd)


async def test_a_simulated_sensor_is_updated_on_its_line(tmp_path: Path, repository: Repository) -> None:
    profile = load_profile(PROFILES / "test-fw-serial.toml")
    assert profile.firmware
    repository.add("fw/s-2.bin", b"2.0.0\n" + image(3000), "test-serial", "2.0.0")
    repository.add("fw/s-3.bin", b"\0" + image(3000), "test-serial", "3.0.0")
    peer, device = LinePeer(tmp_path / "tty", profile.firmware, 0.1), SimulatedDevice("s1", profile, "*")
    await peer.start()
    connector = f'[[connectors]]\nname = "line"\nkind = "serial"\nport = "{tmp_path / "tty"}"\n'
    path = write_config(tmp_path, connector, {"s1": ("test-fw-serial", "line", "*")})
    trust(tmp_path, repository)

    async def report() -> None:
        while True:
            await peer.send(device, [Sample("n", 1.0)], 0)
            await asyncio.sleep(0.05)

    async with running(path) as agent:
        reporting = asyncio.create_task(report())
        await wait_until(lambda: agent.states().get("s1"), 5, "the version in a frame")
        agent.gateway.firmware.take(repository.order(job("s1", "fw/s-2.bin")))
        state = await agent.outcome("s1")
        assert (state.phase, state.reason, state.running) == (UpdatePhase.COMMITTED, "", "2.0.0")
        agent.gateway.firmware.take(repository.order(job("s1", "fw/s-3.bin", "3.0.0", ordered_ms=2)))
        await wait_until(lambda: agent.states()["s1"].version == "3.0.0", 5, "the next order")
        state = await agent.outcome("s1")
        assert (state.phase, state.reason) == (UpdatePhase.FAILED, "the device came back with version 2.0.0")
        assert agent.gateway.intake.frames_refused == 0
        reporting.cancel()
    await peer.stop()


async def test_a_loan_ends_with_the_line_and_with_whoever_wanted_it(
    start_process: StartProcess, tmp_path: Path
) -> None:
    ours, _, _ = plug_in(start_process, tmp_path)
    connector = SerialConnector(SerialConfig(kind="serial", name="line", port=str(ours)), [])
    with pytest.raises(LinkError, match="not open"):
        await connector.lend(hold(asyncio.Event()))
    up = asyncio.Event()
    line = asyncio.create_task(connector.run(Memory(), up.set))
    await up.wait()
    held = asyncio.Event()
    loan = asyncio.create_task(connector.lend(hold(held)))
    await held.wait()
    loan.cancel()
    held = asyncio.Event()
    second = asyncio.create_task(connector.lend(hold(held)))
    await held.wait()
    line.cancel()
    with pytest.raises(LinkError, match="the port was closed"):
        await second
    with pytest.raises(asyncio.CancelledError):
        await line


def hold(held: asyncio.Event) -> Callable[[int], Coroutine[Any, Any, None]]:
    async def use(_fd: int) -> None:
        held.set()
        await asyncio.Event().wait()

    return use
