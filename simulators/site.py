"""The gateway.toml of a simulated community: which connectors its gateway needs and which devices they hear.

Owns the text of that file. Where the endpoints are is passed in; what stands there comes from the script.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from simulators.script import Community, PlacedDevice

_RETRY_MAX_S = 3.0
"""Everything is on one machine: a connector that waits half a minute for its peer only looks broken."""


class Endpoints(NamedTuple):
    """Where the gateway finds its peers.

    mqtt, opcua: urls. coap: what the gateway binds. tty_dir: the folder of the simulated serial ports.
    uplink: the url of the way to the cloud, through the proxy if there is one. identity: the folder of the gateway's
    certificate, for an encrypted one.
    """

    gateway: str
    state_dir: Path
    uplink: str
    mqtt: str
    coap: str
    opcua: str
    tty_dir: Path
    identity: Path | None = None


def quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False)


def table(header: str, **keys: str | float) -> str:
    """One TOML table; texts are quoted."""

    def text(value: str | float) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return quoted(value) if isinstance(value, str) else str(value)

    lines = [header, *(f"{name} = {text(value)}" for name, value in keys.items())]
    return "\n".join(lines) + "\n"


def head(ends: Endpoints) -> str:
    """The keys of the gateway itself."""
    files = {}
    if ends.identity and ends.uplink.startswith("mqtts:"):
        names = {"ca": "broker-ca.pem", "cert": "cert.pem", "key": "key.pem"}
        files = {key: str(ends.identity / name) for key, name in names.items()}
    return f"gateway = {quoted(ends.gateway)}\nstate_dir = {quoted(str(ends.state_dir))}\n\n" + table(
        "[uplink]", url=ends.uplink, backoff_max_s=_RETRY_MAX_S, **files
    )


def connector(name: str, ends: Endpoints) -> str:
    """The connector of a name: its kind follows from what the name begins with."""
    common: dict[str, str | float] = {"name": name, "backoff_max_s": _RETRY_MAX_S}
    if name == "sensors":
        return table("[[connectors]]", kind="mqtt", url=ends.mqtt, **common)
    if name == "coap":
        return table("[[connectors]]", kind="coap", bind=ends.coap, **common)
    if name == "doors":
        return table("[[connectors]]", kind="opcua", url=ends.opcua, security="none", **common)
    return table("[[connectors]]", kind="serial", port=str(ends.tty_dir / name), baud=9600, **common)


def device(placed: PlacedDevice, *, drill: bool = False) -> str:
    """One device. drill: its alarms are marked as drill."""
    training = {"drill": True} if drill else {}
    return table(
        "[[devices]]", id=placed.id, profile=placed.profile, connector=placed.connector, address=placed.address,
        location=placed.place.location, **training,
    )  # fmt: skip


def gateway_toml(community: Community, ends: Endpoints, *, drill: bool = False) -> str:
    """The whole file for a community. drill: every device is one for training."""
    devices = community.devices()
    names = dict.fromkeys(placed.connector for placed in devices)
    parts = ["# Written by `patrol-sim community --write-config`.\n", head(ends)]
    parts += [connector(name, ends) for name in names]
    parts += [device(placed, drill=drill) for placed in devices]
    return "\n".join(parts)


_BY_HAND = """\
# The gateway of `./patrol demo --no-simulators`. Edit and save: it is read again at once, and only what changed is
# applied. A mistake is reported in the gateway's log, and the last good configuration stays in force.
"""

_EXAMPLES = """
# A GNSS receiver or a radio gateway on a serial line (a pty that socat feeds will do):
#   socat pty,raw,echo=0,link=/tmp/gps pty,raw,echo=0,link=/tmp/gps.far
# [[connectors]]
# name = "line1"
# kind = "serial"
# port = "/tmp/gps"
# baud = 9600
# [[devices]]
# id = "gps-1"
# profile = "generic-nmea-gnss"
# connector = "line1"
# address = "*"

# A door controller that speaks OPC UA; the address is the node id of the door's folder:
# [[connectors]]
# name = "doors"
# kind = "opcua"
# url = "opc.tcp://127.0.0.1:4840"
# security = "none"
# [[devices]]
# id = "door-1"
# profile = "generic-door-opcua"
# connector = "doors"
# address = "ns=2;s=door-01"
"""

_READY_MADE = (
    ("smk-1", "generic-smoke-senml", "sensors", "sensors/smk-1"),
    ("tmp-1", "generic-temperature-json", "sensors", "sensors/tmp-1"),
    ("chk-1", "generic-checkin-terminal", "sensors", "sensors/chk-1"),
    ("arm-1", "owntracks-armband", "sensors", "owntracks/team/arm-1"),
    ("smk-2", "generic-smoke-coap", "coap", "s/smk-2"),
)


def gateway_toml_by_hand(ends: Endpoints) -> str:
    """A first file for real devices: MQTT and CoAP are open, a few devices are ready, the rest is shown."""
    parts = [_BY_HAND, head(ends), *(connector(name, ends) for name in ("sensors", "coap"))]
    parts += (
        table("[[devices]]", id=name, profile=profile, connector=line, address=address)
        for name, profile, line, address in _READY_MADE
    )
    return "\n".join([*parts, _EXAMPLES])


def counted(devices: Iterable[PlacedDevice]) -> str:
    """`22 generic-smoke-senml, 8 …`, for people."""
    profiles = [placed.profile for placed in devices]
    return ", ".join(f"{profiles.count(name)} {name}" for name in dict.fromkeys(profiles))


def write_by_hand(path: Path, ends: Endpoints, moved: Mapping[str, str]) -> None:
    """A first file for real devices; one that the user has edited is kept, with its endpoints moved.

    moved: endpoint of an earlier start to endpoint of this one.
    """
    aside = _aside(path)
    if aside.exists():
        aside.replace(path)
    if not _is_by_hand(path):
        path.write_text(gateway_toml_by_hand(ends), encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    for old, new in moved.items():
        text = text.replace(quoted(old), quoted(new))
    path.write_text(text, encoding="utf-8")


def write_simulated(path: Path, community: Community, ends: Endpoints) -> None:
    """The file of a community; one that the user has edited is put aside until it is wanted again."""
    if _is_by_hand(path):
        path.replace(_aside(path))
    path.write_text(gateway_toml(community, ends), encoding="utf-8")


def _is_by_hand(path: Path) -> bool:
    return path.exists() and path.read_text(encoding="utf-8").startswith(_BY_HAND.partition("\n")[0])


def _aside(path: Path) -> Path:
    return path.with_suffix(".by-hand.toml")
