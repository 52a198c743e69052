"""Tell systemd how the agent is: READY, WATCHDOG, STOPPING (sd_notify(3)), without a library."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send one message, such as `READY=1`; nothing happens outside of systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.sendto(message.encode(), address)


def watchdog_s() -> float | None:
    """How often systemd wants to hear from us, or None when it does not."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdigit() and int(usec) else None
