"""A recorded file as a device: NMEA logs to a serial line or a topic, CSV rows to a topic or a CoAP path.

Owns how a recording's own times become pauses. An NMEA log is paced by the times in its sentences, a CSV file by its
`time` column; without times the records follow each other at an even pace.

CSV: the first row names the columns. With a `payload` column its text is sent as it is. Otherwise each row becomes
one SenML pack of its columns; a column may carry its unit as `temperature [Cel]`. `time` is RFC 3339, or seconds or
milliseconds since 1970.
"""

from __future__ import annotations

import asyncio
import csv
import math
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from firmware_specs import senml
from firmware_specs.errors import FrameError, LinkError, PatrolError
from simulators.peers.coap import CoapPeer
from simulators.peers.mqtt import MqttPeer
from simulators.peers.pty import Pty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACE_S: Final = 1.0
"""Between records of a file that says no times."""
MAX_PAUSE_S: Final = 3600.0
"""A longer gap in a recording is cut to this."""
_CONNECT_S: Final = 5.0
_UNREAD_S: Final = 30.0
_POLL_S: Final = 0.02
_SETTLE_S: Final = 0.3
_DAY_S: Final = 86400.0
_NMEA_TIME: Final = re.compile(rb"^\$..(?:RMC|GGA|GLL|ZDA|GNS|GBS|GST),(?:[^,]*,){0,4}?(\d{6}(?:\.\d+)?)(?=[,*])")
_COLUMN: Final = re.compile(r"\s*(\w+)\s*(?:\[([^\]]*)\])?\s*")
_SERIAL_CHUNK: Final = 512


class Record(NamedTuple):
    """One unit of a recording. at_s: its time by the recording, None when it says none."""

    data: bytes
    at_s: float | None


class Target(Protocol):
    """Where a recording goes."""

    async def start(self) -> None:
        """Open it."""

    async def send(self, data: bytes) -> None:
        """Pass one record on; returns when it was taken."""

    async def stop(self) -> None:
        """Close it when all was taken."""


def read(path: Path) -> Iterator[Record]:
    """The records of a file, by its content. Raises PatrolError naming the file, and the row when one is wrong."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise PatrolError(f"{path}: {e.strerror or e}") from e
    if path.suffix.lower() == ".csv":
        return _csv_records(path, data)
    if b"$" in data or b"!" in data[:4096]:
        return _nmea_records(data)
    raise PatrolError(f"{path}: neither a .csv file nor an NMEA log")


def _nmea_records(data: bytes) -> Iterator[Record]:
    """Sentences with what stands around them, so that damage in a capture is replayed too."""
    day_s, last = 0.0, None
    for line in data.splitlines(keepends=True):
        at_s = None
        if match := _NMEA_TIME.match(line):
            text = match[1].decode()
            of_day = int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
            if last is not None and of_day < last - _DAY_S / 2:
                day_s += _DAY_S
            at_s, last = day_s + of_day, of_day
        yield Record(line, at_s)


def _csv_records(path: Path, data: bytes) -> Iterator[Record]:
    try:
        rows = _rows(path, data.decode("utf-8-sig"))
        header = next(rows)
    except UnicodeDecodeError as e:
        raise PatrolError(f"{path}: byte {e.start}: not UTF-8") from e
    except StopIteration as e:
        raise PatrolError(f"{path}: empty") from e
    columns = [match.groups() for name in header if (match := _COLUMN.fullmatch(name))]
    if len(columns) != len(header):
        raise PatrolError(f"{path}: row 1: a column is `name` or `name [unit]`")
    return _csv_rows(path, rows, [(str(name), unit or "") for name, unit in columns])


def _rows(path: Path, text: str) -> Iterator[list[str]]:
    rows = csv.reader(text.splitlines())
    try:
        yield from rows
    except csv.Error as e:
        raise PatrolError(f"{path}: row {rows.line_num}: {e}") from e


def _csv_rows(path: Path, rows: Iterator[list[str]], columns: list[tuple[str, str]]) -> Iterator[Record]:
    names = [name for name, _ in columns]
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            raise PatrolError(f"{path}: row {number}: {len(row)} cells where {len(columns)} are named")
        cells = dict(zip(names, row, strict=True))
        try:
            at_s = parse_time(cells["time"]) if cells.get("time") else None
        except ValueError as e:
            raise PatrolError(f"{path}: row {number}: {e}") from e
        if "payload" in cells:
            yield Record(cells["payload"].encode(), at_s)
        else:
            yield Record(_pack(path, number, columns, row), at_s)


def _pack(path: Path, number: int, columns: list[tuple[str, str]], row: list[str]) -> bytes:
    records = []
    for (name, unit), cell in zip(columns, row, strict=True):
        text = cell.strip()
        if name == "time" or not text:
            continue
        record = senml.Record(n=name, u=unit or None)
        if text.lower() in {"true", "false"}:
            record.vb = text.lower() == "true"
        else:
            try:
                record.v = float(text)
            except ValueError:
                record.vs = text
        records.append(record)
    try:
        return senml.encode_json(records)
    except FrameError as e:
        raise PatrolError(f"{path}: row {number}: {e.reason}") from e


def parse_time(text: str) -> float:
    """Seconds since 1970. Raises ValueError naming the text."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as e:
            raise ValueError(f"time {text!r} is neither RFC 3339 nor a number") from e
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError(f"time {text!r} is no time")
    return number / 1000 if number > 1e11 else number


class _Topic:
    def __init__(self, url: str, topic: str) -> None:
        self._peer = MqttPeer(url, f"replay-{time.time_ns() % 10**9}")
        self._topic = topic

    async def start(self) -> None:
        await self._peer.start()
        await self._peer.wait_connected(_CONNECT_S)

    async def send(self, data: bytes) -> None:
        info = self._peer.publish(self._topic, data.rstrip(b"\r\n"))
        try:
            await asyncio.to_thread(info.wait_for_publish, 10)
        except (RuntimeError, ValueError) as e:
            raise LinkError(f"mqtt://{self._peer.host}:{self._peer.port}", str(e)) from e
        if not info.is_published():
            raise LinkError(f"mqtt://{self._peer.host}:{self._peer.port}", "no acknowledgement within 10 s")

    async def stop(self) -> None:
        await self._peer.stop()


class _Path:
    def __init__(self, base: str, path: str) -> None:
        self._peer = CoapPeer(base)
        self._path = path

    async def start(self) -> None:
        await self._peer.start()

    async def send(self, data: bytes) -> None:
        if not await self._peer.post(self._path, data, 110):
            raise LinkError(f"{self._peer.base}/{self._path}", "the record was not taken")

    async def stop(self) -> None:
        await self._peer.stop()


class _Line:
    """A path that is there is written to (a real port, or the far end of somebody's pty); else a pty is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pty: Pty | None = None

    async def start(self) -> None:
        if not self._path.exists():
            self._pty = Pty(self._path)

    async def send(self, data: bytes) -> None:
        if self._pty is None:
            await asyncio.to_thread(self._write_to_port, data)
            return
        for start in range(0, len(data), _SERIAL_CHUNK):
            await self._until_unread(_SERIAL_CHUNK)
            self._pty.write(data[start : start + _SERIAL_CHUNK])

    async def _until_unread(self, limit: int) -> None:
        """Wait until no more than so many bytes are unread: a recording has no reason to lose any."""
        deadline = time.monotonic() + _UNREAD_S
        while self._pty is not None and self._pty.unread() > limit:
            if time.monotonic() > deadline:
                raise LinkError(str(self._path), f"nobody has read from it for {_UNREAD_S:g} s")
            await asyncio.sleep(_POLL_S)

    def _write_to_port(self, data: bytes) -> None:
        try:
            with self._path.open("wb", buffering=0) as port:
                port.write(data)
        except OSError as e:
            raise LinkError(str(self._path), e.strerror or str(e)) from e

    async def stop(self) -> None:
        if self._pty is not None:
            try:
                # The kernel passes bytes on a moment after they were written.
                await asyncio.sleep(_SETTLE_S)
                await self._until_unread(0)
            finally:
                self._pty.close()


def target(text: str) -> Target:
    """What `--to` names. Raises ValueError naming the text."""
    parts = urlsplit(text)
    where = parts.path.lstrip("/")
    if parts.scheme == "mqtt" and parts.hostname and where:
        return _Topic(f"mqtt://{parts.netloc}", where)
    if parts.scheme == "coap" and parts.hostname and where:
        return _Path(f"coap://{parts.netloc}", where)
    if parts.scheme == "serial" and parts.path:
        return _Line(Path(parts.path))
    raise ValueError(f"{text!r}: mqtt://host:port/topic, coap://host:port/path or serial:PATH expected")


async def run(path: Path, to: Target, speed: float, sent: Callable[[int], None] = lambda _: None) -> int:
    """Replay a file; speed 0 does not pause at all. Returns the number of records.

    Raises PatrolError: the file is not a recording; LinkError: the target did not take a record.
    """
    records = read(path)
    began, first_s, last_s, count = time.monotonic(), None, None, 0
    offset_s = 0.0
    try:
        await to.start()
        began = time.monotonic()
        for record in records:
            if record.at_s is not None:
                if last_s is not None and not 0 <= record.at_s - last_s <= MAX_PAUSE_S:
                    offset_s += record.at_s - last_s - PACE_S
                first_s = record.at_s if first_s is None else first_s
                last_s = record.at_s
            if speed > 0:
                elapsed_s = count * PACE_S if first_s is None else (last_s or 0.0) - first_s - offset_s
                await asyncio.sleep(max(0.0, began + elapsed_s / speed - time.monotonic()))
            await to.send(record.data)
            count += 1
            sent(count)
    finally:
        await to.stop()
    return count
