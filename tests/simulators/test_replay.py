"""Recordings as devices: their own times, their damage, and where they go."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_specs.errors import PatrolError
from simulators import replay
from tests import support

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess

SIM = Path(sys.executable).parent / "patrol-sim"
LOG = (
    b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
    b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"
    b"not a sentence \xff\xfe\r\n"
    b"$GPRMC,123521,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*61\r\n"
)


class Kept:
    """A target that keeps what it is given, with the time."""

    def __init__(self) -> None:
        self.data: list[tuple[float, bytes]] = []

    async def start(self) -> None:
        return

    async def send(self, data: bytes) -> None:
        self.data.append((time.monotonic(), data))

    async def stop(self) -> None:
        return


def test_an_nmea_log_is_replayed_whole_and_at_its_own_pace(tmp_path: Path) -> None:
    file = tmp_path / "drive.log"
    file.write_bytes(LOG)
    kept = Kept()
    assert asyncio.run(replay.run(file, kept, 10)) == 4
    assert b"".join(data for _, data in kept.data) == LOG
    began, ended = kept.data[0][0], kept.data[-1][0]
    assert 0.19 <= ended - began < 1.5
    assert kept.data[2][0] - began < 0.1


def test_midnight_in_a_log_is_no_jump_back(tmp_path: Path) -> None:
    file = tmp_path / "night.log"
    file.write_bytes(b"$GPGLL,4916.45,N,12311.12,W,235959,A,*1D\n$GPZDA,000001.00,01,01,2020,00,00*60\n")
    assert [record.at_s for record in replay.read(file)] == [86399.0, 86401.0]


def test_csv_rows_become_senml_or_their_own_payload(tmp_path: Path) -> None:
    file = tmp_path / "probe.csv"
    file.write_text("time,temperature [Cel],alarm,note\n2026-01-01T00:00:00Z,21.5,false,\n1767225602000,22,true,ok\n\n")
    records = list(replay.read(file))
    assert [record.at_s for record in records] == [1767225600.0, 1767225602.0]
    assert records[0].data == b'[{"n":"temperature","u":"Cel","v":21.5},{"n":"alarm","vb":false}]'
    assert b'{"n":"note","vs":"ok"}' in records[1].data
    file.write_text('time,payload\n5,"{""temp"":1}"\n')
    assert list(replay.read(file)) == [replay.Record(b'{"temp":1}', 5.0)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "time,temperature\n1,2,3\n", "row 2: 3 cells where 2 are named"),
        ("a.csv", "time,temperature\nyesterday,2\n", "row 2: time 'yesterday' is neither RFC 3339 nor a number"),
        ("a.csv", "time,temperature\nnan,2\n", "row 2: time 'nan' is no time"),
        ("a.csv", "temperature\n" + "1" * 200_000, "row 2: field larger than field limit (131072)"),
        ("a.csv", "a b\n1\n", "row 1: a column is `name` or `name [unit]`"),
        ("a.txt", "hello", "neither a .csv file nor an NMEA log"),
    ],
)
def test_what_is_no_recording_is_said_in_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(PatrolError) as e:
        list(replay.read(file))
    assert str(e.value) == f"{file}: {message}"


@pytest.mark.parametrize("to", ["mqtt://127.0.0.1", "ftp://x/y", "serial:", "coap:///x"])
def test_a_target_that_is_none_is_named_with_exit_code_2(tmp_path: Path, to: str) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(LOG)
    done = subprocess.run([SIM, "replay", file, "--to", to], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"patrol-sim: {to!r}: mqtt://host:port/topic, coap://host:port/path or serial:PATH expected\n"
    )


@pytest.mark.peer
def test_a_log_reaches_a_serial_program(tmp_path: Path, start_process: StartProcess) -> None:
    file, port = tmp_path / "drive.log", tmp_path / "port"
    file.write_bytes(LOG)
    done = start_process(SIM, "replay", file, "--to", f"serial:{port}", "--speed", "2")
    support.wait_for(port.exists, what="the port")
    reader = os.open(port, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    data = b""
    while len(data) < len(LOG):
        assert select.select([reader], [], [], 10)[0], data
        more = os.read(reader, 4096)
        assert more, data
        data += more
    os.close(reader)
    assert data == LOG
    support.wait_for(lambda: not done.alive, what="the end of the replay")
    assert done.popen.returncode == 0


@pytest.mark.peer
def test_a_csv_reaches_a_subscriber(tmp_path: Path, mosquitto: StartMosquitto, start_process: StartProcess) -> None:
    broker = mosquitto()
    file = tmp_path / "probe.csv"
    file.write_text('payload\n"{""temp"":1}"\n"{""temp"":2}"\n')
    heard: list[bytes] = []
    subscribed = threading.Event()
    listener = paho.Client(CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _c, _u, message: heard.append(bytes(message.payload))
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.connect("127.0.0.1", broker.port)
    listener.loop_start()
    listener.subscribe("sensors/#", 1)
    assert subscribed.wait(10)
    done = start_process(SIM, "replay", file, "--to", f"{broker.url}/sensors/tmp-1", "--fast", "--json")
    support.wait_for(lambda: len(heard) >= 2 and not done.alive, 20, "both messages")
    listener.disconnect()
    listener.loop_stop()
    assert heard == [b'{"temp":1}', b'{"temp":2}']
    assert '"records": 2' in done.text()
