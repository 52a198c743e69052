"""paho's client with a receive path in batches.

Owns one departure from paho: `loop_read` takes what the socket has in one go and splits QoS 0 and 1 publishes
out of it by hand, and acknowledgements go out joined. paho itself reads three times, takes seven locks and
builds a dozen objects a message (26 µs); this costs about two. Every other packet goes through paho unchanged.
Relies on paho's `_in_packet`, `_packet_handle`, `_packet_queue`, `_sock_recv`, `_create_socket` and
`_last_bytes_received`; `tests/edge/test_mqttclient.py` fails when a release changes them.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MQTTException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_READ_BYTES: Final = 256 * 1024
_READS_A_WAKEUP: Final = 4
"""After so many reads the loop gets a turn; the socket stays readable and calls again."""
MAX_PACKET_BYTES: Final = 8 * 1024 * 1024
KEPT_BYTES: Final = 256 * 1024
"""Of a publish that is larger: what is handed on, more than any decoder takes."""
_PUBLISH: Final = 0x30
_PUBACK: Final = 0x40
_QOS: Final = 0x06
_REFUSED: Final = 0x80
"""Reason codes from here on are failures (MQTT 5, 2.4)."""
_CONTENT_TYPE: Final = 0x03
_USER_PROPERTY: Final = 0x26
_DUP: Final = 0x08
_RETAIN: Final = 0x01


class Message(NamedTuple):
    """A publish as it came. mid is 0 with QoS 0."""

    topic: bytes
    payload: bytes
    mid: int
    dup: bool
    retain: bool


class MalformedError(ValueError):
    """The peer does not speak MQTT."""


class PacketSplitter:
    """Cuts a byte stream into packets; knows publishes of QoS 0 and 1, hands on the rest. Pure.

    A PUBACK without complaint is dropped: what we publish with QoS 1 is believed only when the cloud acknowledges.
    Of a publish beyond the limit the beginning is handed on, to be refused and acknowledged, and the rest is let pass:
    brokers send it whatever we say, and would send it again at each connection.
    """

    def __init__(self, v5: bool, other: Callable[[int, bytes], None]) -> None:
        """other: takes the first byte and the body of any other packet."""
        self._v5 = v5
        self._other = other
        self._rest: list[bytes] = []
        """The beginning of a packet, as it came."""
        self._size = 0
        self._wanted = 0
        """Bytes that `_rest` needs before it is worth a look."""
        self._skip = 0

    def feed(self, data: bytes) -> list[Message]:
        """The publishes that are complete now, in order. Raises MalformedError."""
        if self._skip or self._rest:
            data = self._joined(data)
        messages: list[Message] = []
        v5 = self._v5
        position, end, beyond = 0, len(data), 0
        while end - position >= 2:
            first = data[position]
            length = data[position + 1]
            body = position + 2
            if length > 127:
                length, body, beyond = _measured(data, first, position, end)
                if length < 0:
                    break
            stop = body + length
            if stop > end:
                self._wanted = stop - position
                break
            if first & 0xF0 == _PUBLISH and first & _QOS != 4:
                messages.append(_publish(data, first, body, stop, v5))
            elif first != _PUBACK or (length > 2 and data[body + 2] >= _REFUSED):
                self._other(first, data[body:stop])
            position = stop
            if beyond:
                self._skip, beyond = beyond, 0
                position = end - len(self._joined(data[stop:]))
        if position < end:
            self._rest.append(data[position:])
            self._size = end - position
        return messages

    def _joined(self, data: bytes) -> bytes:
        """The next bytes with those that wait, less those to let pass; nothing while too few of a packet are there."""
        passed = min(self._skip, len(data))
        self._skip -= passed
        data = data[passed:]
        if not self._rest:
            return data
        self._rest.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return b""
        data = b"".join(self._rest)
        self._rest.clear()
        self._wanted = 0
        return data


def _measured(data: bytes, first: int, position: int, end: int) -> tuple[int, int, int]:
    """Of a long packet: its length or -1, where its body begins, and how much of it is not to be looked at."""
    length, body = _varint(data, position + 1, end)
    if length <= MAX_PACKET_BYTES:
        return length, body, 0
    if first & 0xF0 != _PUBLISH:
        raise MalformedError(f"packet of {length} bytes")
    return KEPT_BYTES, body, length - KEPT_BYTES


def _publish(data: bytes, first: int, body: int, stop: int, v5: bool) -> Message:
    """The publish whose variable header and payload are `data[body:stop]`. Raises MalformedError."""
    if stop - body < 2:
        raise MalformedError("publish without a topic")
    start = body + 2
    at = topic_end = start + (data[body] << 8 | data[body + 1])
    mid = 0
    if first & _QOS:
        at += 2
        if at <= stop:
            mid = data[at - 2] << 8 | data[at - 1]
    if v5:
        skip, at = _varint(data, at, stop)
        at = at + skip if skip >= 0 else stop + 1
    if at > stop:
        raise MalformedError("publish shorter than its header")
    return Message(data[start:topic_end], data[at:stop], mid, first & _DUP != 0, first & _RETAIN != 0)


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A variable byte integer and where it ends; -1 when it is not complete. Raises MalformedError."""
    value = 0
    for shift in (0, 7, 14, 21):
        if position >= end:
            return -1, position
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise MalformedError("length of more than four bytes")


class BatchClient(paho.Client):
    """A client on a socket that is already connected, with batches in both directions.

    Published is by `send`: what `publish` keeps until its PUBACK it would keep for ever, and after 65,535 messages it
    would take no more.
    """

    def __init__(self, client_id: str, v5: bool, clean: bool, on_messages: Callable[[list[Message]], None]) -> None:
        """on_messages: takes the publishes of one read; each QoS 1 one wants `acknowledge` later.

        clean: whether the broker forgets the session (MQTT 3.1.1; for MQTT 5 `connect` says it).
        """
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if v5 else clean,
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._v5 = v5
        self._ready: socket.socket | None = None
        self._on_messages = on_messages
        self._splitter = PacketSplitter(v5, self._handle_other)
        self._failure = paho.MQTT_ERR_SUCCESS
        self._unsent_acks = b""
        self.quick = False
        """Answer every segment at once: a broker with Nagle's algorithm waits up to 40 ms for it before it goes on."""
        self.heard = 0
        """Publishes taken since the start."""
        self.cause = ""
        """What ended the connection, when the socket or the peer's bytes said it."""

    def start(self, ready: socket.socket) -> None:
        """Send CONNECT over a socket that is connected and, where wanted, encrypted."""
        self._ready = ready
        self.quick = self.quick and ready.family != socket.AF_UNIX
        self.reconnect()

    def _create_socket(self) -> socket.socket:
        if self._ready is None:
            raise OSError("the socket was used up")
        ready, self._ready = self._ready, None
        return ready

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 - paho's signature
        """Read what is there, hand on the publishes, let paho handle the rest."""
        for _ in range(_READS_A_WAKEUP):
            if self._sock is None:
                return paho.MQTT_ERR_NO_CONN
            try:
                data = self._sock_recv(_READ_BYTES)
                if self.quick:
                    self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # type: ignore[attr-defined]
            except BlockingIOError:
                break
            except OSError as e:
                return self._lost(e.reason if isinstance(e, ssl.SSLError) and e.reason else e.strerror or str(e))
            if not data:
                return self._lost("closed by the broker")
            rc = self._take(data)
            if rc:
                return self._loop_rc_handle(rc)
            if len(data) < _READ_BYTES and not isinstance(self._sock, ssl.SSLSocket):
                break
        return paho.MQTT_ERR_SUCCESS

    def _take(self, data: bytes) -> MQTTErrorCode:
        self._last_bytes_received = time.monotonic()
        try:
            messages = self._splitter.feed(data)
        except (MalformedError, IndexError) as e:
            self.cause = str(e)
            return paho.MQTT_ERR_CONN_LOST
        if messages:
            self.heard += len(messages)
            self._on_messages(messages)
        return self._failure

    def _lost(self, cause: str) -> MQTTErrorCode:
        self.cause = cause
        return self._loop_rc_handle(paho.MQTT_ERR_CONN_LOST)

    def _handle_other(self, first: int, body: bytes) -> None:
        self._in_packet = {
            "command": first, "have_remaining": 1, "remaining_count": [], "remaining_mult": 1,
            "remaining_length": len(body), "packet": bytearray(body), "to_process": 0, "pos": 0,
        }  # fmt: skip
        if first == _PUBACK:
            raise MalformedError(f"publish refused with reason {body[2]:#x}")
        try:
            rc = self._packet_handle()
        except (MQTTException, ValueError, IndexError) as e:
            raise MalformedError(str(e)) from e
        if rc not in {paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_AGAIN}:
            self._failure = rc

    def acknowledge(self, mids: Sequence[int], *, later: bool = False) -> None:
        """Send the PUBACKs of these messages, joined; `later` with the next publish."""
        if self._sock is None:
            return
        self._unsent_acks += b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])
        if not later and self._unsent_acks:
            packet, self._unsent_acks = self._unsent_acks, b""
            self._packet_queue(_PUBACK, packet, 0, 1)

    def send(
        self,
        topic: bytes,
        payload: bytes,
        *,
        retain: bool = False,
        content_type: bytes = b"",
        user: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Publish with QoS 1, acknowledgements that wait ahead of it; content type and user properties with MQTT 5.

        It is not kept for a resend: whoever publishes knows what was not answered.
        """
        if self._sock is None:
            return
        mid = self._mid_generate()
        head = _text(topic) + mid.to_bytes(2, "big")
        if self._v5:
            properties = bytes([_CONTENT_TYPE]) + _text(content_type) if content_type else b""
            for name, value in user:
                properties += bytes([_USER_PROPERTY]) + _text(name.encode()) + _text(value.encode())
            head += _length(len(properties)) + properties
        first = bytes([_PUBLISH | 0x02 | (_RETAIN if retain else 0)])
        packet = self._unsent_acks + first + _length(len(head) + len(payload)) + head + payload
        self._unsent_acks = b""
        self._packet_queue(_PUBLISH, packet, mid, 1)


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _length(number: int) -> bytes:
    """A variable byte integer."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)
