"""A CoAP sensor on a bare socket: confirmable POSTs, sent again until the gateway says 2.04.

Owns a minimal client (RFC 7252: CON POST, piggybacked or separate answers) that counts a reading as accepted only
when 2.04 came. It keeps the same device time on every try, so what was stored twice would show.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time

_CON_POST, _ACK = 0x40, 0x60
_CHANGED = 0x44
_TYPE_ACK, _TYPE_CON = 2, 0
SENML_JSON = 110


def post(path: str, payload: bytes, message_id: int, token: bytes) -> bytes:
    """A confirmable POST with Uri-Path and Content-Format."""
    head = struct.pack(">BBH", _CON_POST | len(token), 0x02, message_id) + token
    options = b""
    previous = 0
    for part in path.split("/"):
        options += _option(11 - previous, part.encode())
        previous = 11
    options += _option(12 - previous, bytes([SENML_JSON]))
    return head + options + b"\xff" + payload


def _option(delta: int, value: bytes) -> bytes:
    assert delta < 13
    assert len(value) < 269
    if len(value) < 13:
        return bytes([delta << 4 | len(value)]) + value
    return bytes([delta << 4 | 13, len(value) - 13]) + value


class CoapFeeder:
    """Posts numbered readings one after the other until stopped; each is repeated until it is accepted."""

    def __init__(self, port: int, device: str, first_ms: int) -> None:
        self.port = port
        self.device = device
        self.first_ms = first_ms
        self.accepted = 0
        """Readings 0 to accepted - 1 were answered with 2.04; their times are first_ms + number."""
        self.tries = 0
        self.refusals: list[str] = []
        self._message_id = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"coap-{device}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float = 60) -> None:
        """Stop after the reading under way was accepted."""
        self._stop.set()
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"{self.device}: reading {self.accepted} was never accepted"

    def _run(self) -> None:
        while not self._stop.is_set():
            self._post_until_accepted(self.accepted)
            self.accepted += 1

    def _post_until_accepted(self, number: int) -> None:
        at_s = (self.first_ms + number) / 1000
        payload = json.dumps([{"n": "n", "v": number, "t": at_s}, {"n": "fire", "vb": False, "t": at_s}]).encode()
        while not self._accepted(payload):
            pass

    def _accepted(self, payload: bytes) -> bool:
        self.tries += 1
        self._message_id = (self._message_id + 1) & 0xFFFF
        token = struct.pack(">I", self.tries)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.connect(("127.0.0.1", self.port))
            return self._exchange(link, post(f"s/{self.device}", payload, self._message_id, token), token)

    def _exchange(self, link: socket.socket, request: bytes, token: bytes) -> bool:
        end = time.monotonic() + 2
        link.settimeout(0.3)
        try:
            link.send(request)
            while time.monotonic() < end:
                answer = link.recv(2048)
                kind, length, code = answer[0] >> 4 & 3, answer[0] & 15, answer[1]
                if code == 0 and kind == _TYPE_ACK:
                    link.settimeout(2)  # the gateway has it and will answer apart, after its commit
                    continue
                # A socket may be given the port of the dead gateway, and then hears its own request: no answer.
                if answer[4 : 4 + length] != token or code >> 5 == 0:
                    continue
                if kind == _TYPE_CON:
                    link.send(bytes([_ACK, 0]) + answer[2:4])
                if code != _CHANGED:
                    self.refusals.append(f"{code >> 5}.{code & 31:02}")
                return code == _CHANGED
        except OSError:
            self._stop.wait(0.02)
        return False
