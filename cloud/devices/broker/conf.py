"""The text of mosquitto's configuration. Nothing here but the salt of a password is drawn.

Two listeners with settings of their own. Gateways: TLS, a certificate demanded, its common name the user and the
client id, so that a session's name cannot be chosen; access by `rules.access_file`. The cloud: everything, and client
ids as it likes, which is how a live session is ended (`sessions.py`). So nobody else must reach that one: on loopback
by a password when one is configured, beyond it by one pinned certificate, since a certificate of the gateways'
authority would let any of them end the session of another.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from firmware_specs.gateway_file import split_bind

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.devices.broker.settings import MosquittoConfig

CONF: Final = "mosquitto.conf"
ACCESS: Final = "gateways.acl"
CLOUD_ACCESS: Final = "cloud.acl"
PASSWORDS: Final = "cloud.passwd"
CA: Final = "ca.pem"
SERVER: Final = "server.pem"
"""Certificate, its issuer and key."""
LIST: Final = "crl.pem"
CLOUD: Final = "cloud.pem"
"""The cloud's own certificate and key, of no business to the broker."""
CLOUD_CERT: Final = "cloud.crt"
_ROUNDS: Final = 101
"""What mosquitto_passwd does; the password is a random token and not something that people choose."""
_MAX_PACKET: Final = 17 * 1024 * 1024


def configuration(settings: MosquittoConfig, folder: Path, *, cloud_user: str | None) -> str:
    """The whole file. folder: where the others lie. cloud_user: who the cloud signs in as; None for anybody."""
    lines = [
        "# Made by patrol-cloud, which writes it again; change [mosquitto] in cloud.toml instead.",
        "per_listener_settings true",
        "persistence false",
        "set_tcp_nodelay true",
        "max_queued_messages 100000",
        f"max_packet_size {_MAX_PACKET}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
    if settings.user:
        lines.append(f"user {settings.user}")
    if settings.pid_file:
        lines.append(f"pid_file {settings.pid_file}")
    lines += ["", "# gateways", *_listener(settings.bind), "allow_anonymous false", f"acl_file {folder / ACCESS}"]
    lines += _tls(folder, ca=folder / CA)
    lines += ["use_username_as_clientid true", f"crlfile {folder / LIST}"]
    lines += ["", "# the cloud", *_listener(settings.cloud_bind), f"acl_file {folder / CLOUD_ACCESS}"]
    if settings.cloud_tls:
        lines += ["allow_anonymous false", *_tls(folder, ca=folder / CLOUD_CERT)]
    elif cloud_user:
        lines += ["allow_anonymous false", f"password_file {folder / PASSWORDS}"]
    else:
        lines.append("allow_anonymous true")
    return "\n".join(lines) + "\n"


def _listener(bind: str) -> list[str]:
    host, port = split_bind(bind, 8883)
    return [f"listener {port} {host}"]


def _tls(folder: Path, *, ca: Path) -> list[str]:
    return [
        f"cafile {ca}", f"certfile {folder / SERVER}", f"keyfile {folder / SERVER}", "tls_version tlsv1.2",
        "require_certificate true", "use_identity_as_username true",
    ]  # fmt: skip


def cloud_access(cloud_user: str | None) -> str:
    """The access rules of the cloud's listener; the user is None where nobody signs in."""
    return (f"user {cloud_user}\n" if cloud_user else "") + "topic readwrite #\n"


def password_line(user: str, password: str) -> str:
    """A line of mosquitto's password file."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"{user}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def password_holds(line: str, user: str, password: str) -> bool:
    """Whether such a line is of this user and password, so that it need not be written again."""
    parts = line.strip().split("$")
    if len(parts) != 5 or parts[0] != f"{user}:" or parts[1] != "7" or not parts[2].isdigit():
        return False
    try:
        salt, digest = base64.b64decode(parts[3], validate=True), base64.b64decode(parts[4], validate=True)
    except ValueError:
        return False
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, int(parts[2])) == digest
