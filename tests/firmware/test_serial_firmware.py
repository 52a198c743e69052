"""Firmware over a serial line of two ptys, received by `rx` of lrzsz, a program that we did not write."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from firmware_specs.wire_fleet import UpdatePhase
from tests.firmware.firmware_support import Repository, image, job, running, trust, write_config
from tests.support import Running, wait_for, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import StartProcess

pytestmark = [pytest.mark.peer]
RX = shutil.which("rx") or shutil.which("lrx")
SIZE = 5000


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

    def receive(self) -> subprocess.Popen[bytes]:
        """`rx`, in place of the device's own program."""
        self.say("CRC mode: ready to receive. C")
        return subprocess.Popen(
            [str(RX), "--xmodem", "--with-crc", "--binary", str(self.file)], stdin=self.fd, stdout=self.fd,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip


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
        frames = agent.gateway.intake.frames
        agent.gateway.firmware.take(repository.order(job("s1", "fw/s-2.bin")))

        await asyncio.to_thread(device.wait_for_update)
        first = device.receive()
        await wait_until(lambda: agent.states()["s1"].done > 500, 10, "the sending")
        first.kill()
        first.wait()
        await wait_until(lambda: agent.states()["s1"].reason, 20, "the try that failed")

        await asyncio.to_thread(device.wait_for_update)
        assert await asyncio.to_thread(device.receive().wait) == 0
        assert device.file.read_bytes()[:SIZE] == data
        assert agent.states()["s1"].phase is UpdatePhase.TRIAL
        device.say('{"n":2,"fire":false,"fw":"2.0.0"}')
        state = await agent.outcome("s1")
        assert (state.phase, state.reason, state.running) == (UpdatePhase.COMMITTED, "", "2.0.0")
        assert agent.gateway.intake.frames == frames + 1
        os.close(device.fd)
