"""A client of the event stream that keeps what it heard and when."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.system.harness import Json, Stack


class Listener:
    """An open event stream; keeps every event with its arrival time."""

    def __init__(self, stack: Stack) -> None:
        self.events: list[tuple[float, str, Json]] = []
        self._answer = stack.stream()
        self._thread = threading.Thread(target=self._read, name="listener", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._answer.close()

    def _read(self) -> None:
        kind, data = "", ""
        try:
            for raw in self._answer:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line and data:
                    self.events.append((time.monotonic(), kind, json.loads(data)))
                    kind, data = "", ""
        except (OSError, ValueError):
            return  # the stream ended with the cloud

    def alarm_of(self, device: str) -> float | None:
        """When the first event about an alarm of this device came."""
        told = (at for at, kind, data in self.events if "alarm" in kind and device in json.dumps(data))
        return next(told, None)
