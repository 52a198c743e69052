"""What `cloud.toml` says of the gateways' broker beyond how the cloud reaches it.

Owns the keys of `[mosquitto]` and `[broker_http]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from firmware_specs.gateway_file import is_loopback, split_bind
from firmware_specs.tomlfile import Model

_SIGNAL = "signal:"
_COMMAND = "command:"


def _bind(text: str) -> str:
    split_bind(text, 8883)
    return text


def _reload(text: str) -> str:
    known = text == "none" or any(text.startswith(way) and text != way for way in (_SIGNAL, _COMMAND))
    if not known or not text.isprintable():
        raise ValueError(f'{text!r} is not "signal:PIDFILE", "command:PROGRAM ARGUMENTS" or "none"')
    return text


Bind = Annotated[str, AfterValidator(_bind)]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
PlainPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$")]


def _one_line(path: Path) -> Path:
    # mosquitto's configuration has no quotes, so a path ends with its line.
    if not str(path).isprintable():
        raise ValueError(f"{str(path)!r} has a line break in it")
    return path


class MosquittoConfig(Model):
    """Where the worker keeps mosquitto's configuration, access rules, certificates and revocation list."""

    dir: Annotated[Path, AfterValidator(_one_line)]
    """The folder that is kept; the broker runs with `mosquitto -c DIR/mosquitto.conf`. When mosquitto runs as a user of
    its own, make it beforehand, owned by the service, of mosquitto's group, mode 2750."""
    reload: Annotated[str, AfterValidator(_reload)] = "none"
    """How the broker is told of changes: `signal:PIDFILE` sends SIGHUP, `command:PROGRAM ARGUMENTS` runs a program
    (`command:systemctl reload mosquitto`, or a script that copies the folder to another machine first)."""
    bind: Bind = "0.0.0.0:8883"
    """Where gateways connect, by TLS with their certificates."""
    hosts: tuple[Host, ...] = Field(default=("localhost", "127.0.0.1"), min_length=1, max_length=32)
    """Names and addresses by which they reach it, for its certificate."""
    cloud_bind: Bind = "127.0.0.1:1883"
    """Where the cloud itself connects (`[broker] url`). Beyond loopback it is TLS, and takes no certificate but
    that of `DIR/cloud.pem`, which `[broker] cert` and `key` then name."""
    user: PlainPath | None = None
    """The user that mosquitto becomes when it is started as root; its own default when left out."""
    every_s: float = Field(default=5, gt=0, le=20)
    """How often the fleet is looked at. A session ends at most this long after its certificate was revoked."""
    stale_h: float = Field(default=24, gt=0.01, le=24 * 30)
    """A revocation list that is older raises an alarm; it is made anew every 6 hours."""

    def below(self, base: Path) -> Self:
        """The same with its folder counted from another."""
        return self.model_copy(update={"dir": base / self.dir})

    @property
    def cloud_tls(self) -> bool:
        """Whether the cloud's own listener is encrypted."""
        return not is_loopback(split_bind(self.cloud_bind, 1883)[0])

    @property
    def pid_file(self) -> Path | None:
        """The broker's, when it is told by a signal."""
        return Path(self.reload.removeprefix(_SIGNAL)) if self.reload.startswith(_SIGNAL) else None

    @property
    def command(self) -> str | None:
        """The program to run, when it is told by one."""
        return self.reload.removeprefix(_COMMAND) if self.reload.startswith(_COMMAND) else None

    @model_validator(mode="after")
    def _two_listeners(self) -> Self:
        if split_bind(self.bind, 8883) == split_bind(self.cloud_bind, 1883):
            raise ValueError("cloud_bind: the same as bind; the cloud needs a listener of its own")
        return self


class BrokerHttpConfig(Model):
    """The other way: a broker that asks over HTTP who may do what, such as EMQX."""

    token_file: Path | None = None
    """What the broker proves itself with, `Authorization: Bearer …`; or the environment variable
    PATROL_BROKER_HTTP_TOKEN. Without either nobody is answered."""
    cloud: tuple[Host, ...] = ()
    """Common names of the cloud's own certificates, which may do everything. No gateway can be one of them."""
