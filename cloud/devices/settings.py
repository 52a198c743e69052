"""What cloud.toml says of how gateways join and are kept up to date.

Owns the keys of `[authority]`, `[enrolment]`, `[est]` and `[updates]`; those of their broker are `broker.settings`'s.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Self

from pydantic import Field, model_validator

from cloud.settings import Bind, WebAddress, secret
from firmware_specs.tomlfile import Model


class AuthorityConfig(Model):
    """The certificate authority of the gateways, below `data_dir/authority`."""

    key: str = Field(default="file", pattern=r"^(file|pkcs11:.+)$")
    """Where the intermediate's key is: `file`, or `pkcs11:token=…;object=…?module-path=…`."""
    pin_file: Path | None = None
    """Of the token; or the environment variable PATROL_HSM_PIN."""

    def pin(self) -> str | None:
        """The token's PIN, when one is configured."""
        return secret(self.pin_file, "PATROL_HSM_PIN")


class EnrolmentConfig(Model):
    """What gateways are given, and how often one may fail."""

    certificate_days: int = Field(default=90, ge=1, le=825)
    """How long a gateway's certificate holds; it renews it by itself at two thirds."""
    broker_url: str | None = Field(default=None, pattern=r"^mqtts?://\S+$")
    """Where gateways reach the broker; `broker.url` when left out."""
    tries: int = Field(default=10, ge=1)
    """Failed enrolments from one address within `window_s`."""
    all_tries: int = Field(default=200, ge=1)
    """The same from everywhere."""
    window_s: float = Field(default=900, gt=0)
    """The time in which failed enrolments are counted."""


class EstConfig(Model):
    """The TLS port that gateways enrol at."""

    bind: Bind = "127.0.0.1:8443"
    """Address and port; port 0 takes a free one."""
    public_url: WebAddress | None = None
    """Where gateways reach it, `https://enrol.example:8443`; `bind` when left out, or the first of `hosts` when that is
    every address."""
    hosts: tuple[str, ...] = ()
    """More DNS names and addresses of its certificate, beside those of `public_url` and `bind`."""

    @property
    def anywhere(self) -> bool:
        """Whether it listens at every address, which none can be called by."""
        return self.bind.rpartition(":")[0].strip("[]") in {"0.0.0.0", "::"}  # noqa: S104 - names no host

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.public_url and not self.public_url.startswith("https://"):
            raise ValueError(f"public_url: {self.public_url!r} is not https://host:port")
        if self.anywhere and not self.public_url and not self.hosts:
            raise ValueError(f"public_url: needed with bind = {self.bind!r}, which names no host")
        return self


class UpdatesConfig(Model):
    """The update repository of agents and firmware below `data_dir/updates`."""

    url: WebAddress | None = None
    """Where gateways reach this service; `http.public_url`, else `http.bind`, when left out."""
    root_days: int = Field(default=365, ge=30, le=3650)
    """How long the root is good for; its keys are with people."""
    targets_days: int = Field(default=90, ge=7, le=3650)
    """How long the list of targets is good for; its keys are with people."""
    snapshot_days: float = Field(default=7, ge=0.5, le=365)
    """How long a snapshot is good for; renewed by itself at half of it."""
    timestamp_hours: float = Field(default=24, ge=1, le=24 * 30)
    """How long a gateway may be shown the same state; renewed by itself at half of it."""
    downloads: int = Field(default=64, ge=1, le=10_000)
    """Targets that are sent at a time; who comes then is told when to come again."""
