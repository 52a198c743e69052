"""MQTT load on bare sockets, so that the generator is not what a benchmark measures.

Owns a publisher (`Source`, MQTT 3.1.1, QoS 1, packets encoded in bulk, a window of unacknowledged ones, resent after
a broken connection) and a subscriber (`Sink`, MQTT 5, QoS 1, acknowledging in bulk). Neither is a general client:
they speak as much of the protocol as the load needs. One thread each; times are `time.monotonic()` of this process.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGREQ = 0x10, 0x20, 0x30, 0x40, 0x90, b"\xc0\x00"
_USER_PROPERTY = 0x26
_PROPERTY_SIZES = {0x01: 1, 0x02: 4, 0x0B: 4, 0x23: 2}
"""MQTT 5, table 2-4: fixed-width properties that a PUBLISH may carry; all others here are strings."""


class Message(NamedTuple):
    """A message that arrived: when, where, what, and its MQTT 5 user properties."""

    at_s: float
    topic: str
    payload: bytes
    properties: tuple[tuple[str, str], ...]


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _string(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def publish_packet(topic: bytes, payload: bytes, packet_id: int, *, duplicate: bool = False) -> bytes:
    """A QoS 1 PUBLISH of MQTT 3.1.1."""
    body = _string(topic) + struct.pack(">H", packet_id) + payload
    return bytes([_PUBLISH | 0x02 | (0x08 if duplicate else 0)]) + _length(len(body)) + body


def _connect(port: int, client_id: str, version: int, *, clean: bool) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), timeout=5)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    properties = b"\x11\xff\xff\xff\xff\x21\xff\xff"  # session never expires; receive maximum 65,535
    head = _string(b"MQTT") + bytes([version, 0x02 if clean else 0x00]) + b"\x00\x00"
    if version == 5:
        head += _length(len(properties)) + properties
    body = head + _string(client_id.encode())
    link.sendall(bytes([_CONNECT]) + _length(len(body)) + body)
    answer = link.recv(4)
    if len(answer) < 4 or answer[0] != _CONNACK or answer[3] != 0:
        link.close()
        raise ConnectionError(f"broker on port {port} refused: {answer.hex()}")
    if version == 5:
        rest = answer[1] - 2
        while rest > 0:
            rest -= len(link.recv(rest))
    return link


class Source:
    """Publishes a prepared list of messages and knows which ones the broker acknowledged.

    messages: (topic, payload). window: how many may wait for their PUBACK.
    """

    def __init__(self, port: int, messages: Sequence[tuple[bytes, bytes]], client_id: str = "source") -> None:
        self.port = port
        self.messages = messages
        self.client_id = client_id
        self.window = 4000
        self.sent_at: list[float] = []
        """Send time of each message, by index; of its first try when it was resent."""
        self.acked = 0
        """Messages acknowledged, from the front: brokers acknowledge in order (MQTT 3.1.1, 4.6)."""
        self._finishing = threading.Event()

    def run(self, rate: float | None = None, *, deadline_s: float = 600, stop: threading.Event | None = None) -> None:
        """Publish everything, at `rate` messages/s or as fast as acknowledgements allow; return when all are acked."""
        started = time.monotonic()
        end = started + deadline_s
        halt = stop or threading.Event()
        while self.acked < self._total and not halt.is_set():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.acked} of {len(self.messages)} messages acknowledged in {deadline_s} s")
            try:
                with _connect(self.port, self.client_id, 4, clean=True) as link:
                    self._pump(link, started, rate, end, halt)
            except OSError:
                halt.wait(0.05)

    def finish(self) -> None:
        """Send nothing new; `run` ends when all that was sent is acknowledged."""
        self._finishing.set()

    @property
    def _total(self) -> int:
        return len(self.sent_at) if self._finishing.is_set() else len(self.messages)

    def _pump(self, link: socket.socket, started: float, rate: float | None, end: float, halt: threading.Event) -> None:
        link.setblocking(False)
        following = self.acked
        out = bytearray()
        inbound = b""
        while self.acked < (total := self._total) and not halt.is_set() and time.monotonic() < end:
            allowed = min(total, self.acked + self.window)
            if rate is not None:
                allowed = min(allowed, int((time.monotonic() - started) * rate) + 1)
            if following < allowed and len(out) < 1 << 18:
                batch = min(allowed, following + 500)
                self._fill(out, following, batch)
                following = batch
            pause = 0.2
            if rate is not None and following < total:
                pause = max(0.0, min(pause, started + following / rate - time.monotonic()))
            readable, writable, _ = select.select([link], [link] if out else [], [], 0 if out else pause)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    del out[: link.send(out)]
            if readable:
                data = link.recv(1 << 16)
                if not data:
                    return
                inbound += data
                self.acked += len(inbound) // 4  # only PUBACKs of four bytes come back
                inbound = inbound[len(inbound) & ~3 :]

    def _fill(self, out: bytearray, start: int, end: int) -> None:
        now = time.monotonic()
        for index in range(start, end):
            topic, payload = self.messages[index]
            again = index < len(self.sent_at)
            if not again:
                self.sent_at.append(now)
            out += publish_packet(topic, payload, index % 65535 + 1, duplicate=again)

    def thread(
        self, rate: float | None = None, *, deadline_s: float = 600, stop: threading.Event | None = None
    ) -> threading.Thread:
        """`run` in a started thread."""
        run = threading.Thread(
            target=self.run,
            args=(rate,),
            kwargs={"deadline_s": deadline_s, "stop": stop},
            name=self.client_id,
            daemon=True,
        )
        run.start()
        return run


class Sink:
    """Subscribes to one filter and hands every message on, acknowledging in bulk; reconnects until closed."""

    def __init__(self, port: int, topic_filter: str, take: Callable[[Message], None], client_id: str = "sink") -> None:
        self.port = port
        self.topic_filter = topic_filter
        self.client_id = client_id
        self._take = take
        self._closed = threading.Event()
        self.subscribed = threading.Event()
        self._sending = threading.Lock()
        self._link: socket.socket | None = None
        self._packet_id = 0
        self._thread = threading.Thread(target=self._run, name=client_id, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        if not self.subscribed.wait(10):
            raise TimeoutError(f"{self.client_id}: no subscription on port {self.port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(10)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish QoS 1 over the same connection; its PUBACK is not waited for."""
        self._packet_id = self._packet_id % 65535 + 1
        body = _string(topic.encode()) + struct.pack(">H", self._packet_id) + b"\x00" + payload
        self._send(bytes([_PUBLISH | 0x02]) + _length(len(body)) + body)

    def _send(self, data: bytes) -> None:
        link = self._link
        if link is not None:
            with self._sending, contextlib.suppress(OSError):
                link.sendall(data)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with _connect(self.port, self.client_id, 5, clean=False) as self._link:
                    self._subscribe(self._link)
                    self._receive(self._link)
            except OSError:
                self._closed.wait(0.02)
            finally:
                self._link = None

    def _subscribe(self, link: socket.socket) -> None:
        body = b"\x00\x01\x00" + _string(self.topic_filter.encode()) + b"\x01"
        link.sendall(b"\x82" + _length(len(body)) + body)

    def _receive(self, link: socket.socket) -> None:
        link.settimeout(0.2)
        buffer = bytearray()
        while not self._closed.is_set():
            try:
                data = link.recv(1 << 18)
            except TimeoutError:
                continue
            if not data:
                return
            now = time.monotonic()
            buffer += data
            acks = bytearray()
            used = 0
            for first, start, end in _packets(buffer):
                used = end
                if first & 0xF0 == _SUBACK:
                    self.subscribed.set()
                elif first & 0xF0 == _PUBLISH:
                    self._take(_read(now, first, bytes(buffer[start:end]), acks))
            del buffer[:used]
            if acks:
                self._send(bytes(acks))


def _packets(buffer: bytearray) -> Iterator[tuple[int, int, int]]:
    """First byte, start and end of the body of each whole packet."""
    at = 0
    while at + 2 <= len(buffer):
        size = shift = 0
        start = at + 1
        while start < len(buffer):
            digit = buffer[start]
            size |= (digit & 0x7F) << shift
            shift += 7
            start += 1
            if not digit & 0x80:
                break
        else:
            return
        if start + size > len(buffer):
            return
        yield buffer[at], start, start + size
        at = start + size


def _read(now: float, first: int, body: bytes, acks: bytearray) -> Message:
    size = body[0] << 8 | body[1]
    topic = body[2 : 2 + size].decode()
    at = 2 + size
    if first & 0x06:
        acks += b"\x40\x02" + body[at : at + 2]
        at += 2
    properties, at = _properties(body, at)
    return Message(now, topic, body[at:], properties)


def _properties(body: bytes, at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The user properties of an MQTT 5 PUBLISH, and where its payload begins."""
    if body[at] == 0:
        return (), at + 1
    size = shift = 0
    while True:
        digit = body[at]
        size |= (digit & 0x7F) << shift
        shift += 7
        at += 1
        if not digit & 0x80:
            break
    end = at + size
    found: deque[tuple[str, str]] = deque()
    while at < end:
        kind = body[at]
        at += 1
        if kind in _PROPERTY_SIZES:
            at += _PROPERTY_SIZES[kind]
            continue
        text, at = _take_string(body, at)
        if kind == _USER_PROPERTY:
            value, at = _take_string(body, at)
            found.append((text, value))
    return tuple(found), end


def _take_string(body: bytes, at: int) -> tuple[str, int]:
    size = body[at] << 8 | body[at + 1]
    return body[at + 2 : at + 2 + size].decode(), at + 2 + size
