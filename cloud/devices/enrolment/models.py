"""What the API says of claims and certificates, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.devices.enrolment.rules import ClaimState  # noqa: TC001 - pydantic reads it
from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN

NODE_PATTERN: Final = r"^/(?:[0-9]{1,18}/)*$"
LIFE_MIN: Final = 72 * 60
MOST_MIN: Final = 30 * 24 * 60


class NewClaim(BaseModel):
    """A claim code for one gateway. minutes: how long it may be used."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    node: Annotated[str, StringConstraints(pattern=NODE_PATTERN, max_length=255)]
    """Where the gateway will belong."""
    gateway: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] | None = None
    """Which gateway it is for; a new name when left out. One that exists gets a new certificate in place of its own."""
    location: Annotated[str, StringConstraints(max_length=500)] = ""
    """Where it hangs, for people."""
    minutes: Annotated[int, Field(ge=5, le=MOST_MIN)] = LIFE_MIN


class ClaimView(View):
    """A claim, without its code, which nobody keeps."""

    id: int
    node: str
    gateway: str | None
    """Whom it is bound to."""
    location: str
    state: ClaimState
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None
    enrolled: str | None
    """The gateway that it made."""
    reused: int
    """How often another key came with it after it was used."""
    reused_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class IssuedClaim(View):
    """A new claim. The code is told this once."""

    id: int
    code: str
    """To type: `7K2M-X0QD-4TVB-9E3H`."""
    fingerprint: str
    """SHA-256 of the authority's root certificate, in hex."""
    url: str
    """The EST listener."""
    expires_at: datetime
    node: str
    gateway: str | None
    location: str
    text: str
    """What the picture says."""
    qr: str
    """The picture, as SVG."""


class CertificateView(View):
    """A certificate that a gateway was given."""

    serial: str
    gateway: str
    claim: int | None
    """By which claim; none when it renewed one."""
    issued_at: datetime
    not_before: datetime
    not_after: datetime
    in_force: bool
    revoked_at: datetime | None
    revoked_by: str | None
    reason: str | None


class Revoked(View):
    """What revoking a gateway came to."""

    gateway: str
    certificates: int
    """How many were in force."""
