"""A TCP link that can be cut and mended, for outages of one peer only.

Owns one listening port on loopback; a thread a direction and connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Relay:
    """A TCP link to a port that can be cut and mended: connections break, new ones are refused meanwhile."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._up = threading.Event()
        self._up.set()
        self._closed = threading.Event()
        self._ends: list[socket.socket] = []
        self._copies: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.cut()
        for thread in (self._thread, *self._copies):
            thread.join(5)
        for end in (*self._ends, self._listener):
            end.close()

    def cut(self) -> None:
        """Break every connection; new ones are closed as they come."""
        self._up.clear()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self._up.set()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            if not self._up.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._ends += (near, far)
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                copy = threading.Thread(target=_copy, args=(one, other), daemon=True)
                self._copies.append(copy)
                copy.start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
