"""The demo's state folder and ports: who holds the folder, what in it is ours, what moved since the last start."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.errors import LinkError, PatrolError
from simulators import broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulators import site

_OURS: Final = (
    "cloud", "edge", "tty", "logs", "cloud.toml", "gateway.toml", "credentials.json",
    "organisation.json", "people.json", "gateway.by-hand.toml", "ends.json", "south.conf", "south.toml",
    "uplink.conf", "uplink.toml", "uplink", "enrolled.toml", "authority-root",
)  # fmt: skip
"""What stands in a state folder; `fresh` removes these and nothing else."""


class Ports(NamedTuple):
    """Where everything listens on loopback. uplink: the gateways' broker; cloud: its listener for the cloud."""

    http: int
    mqtt: int
    uplink: int
    cloud: int
    est: int
    coap: int
    opcua: int
    proxy: int


def choose_ports(http_port: int) -> Ports:
    """The usual ports where they are free, else free ones. Raises LinkError when the console's is taken."""
    if not broker.is_free(http_port):
        raise LinkError(f"127.0.0.1:{http_port}", "the port is taken; choose another with --port")
    mqtt = 1883 if broker.is_free(1883) else broker.free_port()
    coap_free = broker.is_free(5683, socket.SOCK_DGRAM)
    coap = 5683 if coap_free else broker.free_port(socket.SOCK_DGRAM)
    est = 8443 if broker.is_free(8443) else broker.free_port()
    free = broker.free_ports(4)
    return Ports(http_port, mqtt, free[0], free[1], est, coap, free[2], free[3])


def moved(path: Path, ends: site.Endpoints) -> dict[str, str]:
    """Which endpoints have moved since the last start; remembers those of this one."""
    now = [ends.uplink, ends.mqtt, ends.coap, str(ends.state_dir)]
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = now
    path.write_text(json.dumps(now), encoding="utf-8")
    return dict(zip(before, now, strict=False))


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold a state folder for one demo at a time. Raises PatrolError when it is held or cannot be made."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("w")
    except OSError as e:
        raise PatrolError(f"{state}: {e.strerror or e}") from e
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise PatrolError(f"{state}: another demo runs there; end it or choose another --state") from e
        yield


def remove(state: Path) -> None:
    """Forget what earlier demos stored in a folder; what is not ours stays."""
    for name in _OURS:
        path = state / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
