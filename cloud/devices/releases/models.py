"""Releases as the API shows them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it

from pydantic import Field

from cloud.paging import View
from firmware_specs.release import ReleaseKind  # noqa: TC001 - pydantic reads it


class TargetView(View):
    """One signed target."""

    path: str
    kind: ReleaseKind
    model: str = Field(description="Which device profile it is for; `agent` for the agent.")
    version: str
    size: int
    sha256: str
    requires: str = Field(description="The least agent version that may take it; empty for any.")
    platform: str = Field(description="`any`, or a system and machine such as `linux-x86_64`.")
    notes: str
    published_at: datetime


class RoleView(View):
    """How the metadata of a role stands."""

    role: str
    version: int
    expires_at: datetime
    days_left: float = Field(description="Negative once it has expired: gateways then refuse every update.")
    offline: bool = Field(description="Its keys are with people: renewing it needs them.")
    ending: bool = Field(description="So near to its end that an alarm is raised.")


class ReleasesView(View):
    """The update repository as it is published."""

    published: bool
    metadata_url: str
    targets_url: str
    roles: list[RoleView]
    targets: list[TargetView]
