"""What the API says of device firmware."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it

from cloud.paging import View


class FirmwareView(View):
    """The firmware of one device."""

    gateway: str
    device: str
    node: str
    """Path of the organisation node that the device belongs to."""
    profile: str
    model: str
    """What releases call the device type; empty when its profile has no way for firmware into it."""
    running: str
    """The version that it says it runs; empty while it has not said."""
    campaign: int | None
    """The campaign of the last order."""
    version: str
    """The version that was last ordered."""
    target: str
    back: bool
    """Whether the last order leads back to what ran before."""
    ordered_at: datetime | None
    phase: str
    """How the last order stands: `ordered`, `waiting`, `downloading`, `sending`, `trial`, `committed`, `refused`,
    `failed`, `idle`; empty when there never was one."""
    reason: str
    done: int
    size: int
    """Bytes in the device, of how many."""
    told_at: datetime | None
