"""What the API says of field work, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.devices.field.rules import (
    MAX_DEVICES,
    MAX_MINUTES,
    MIN_MINUTES,
    Mark,
    Proof,
    Step,
    StepState,
)
from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN

MAX_NOTE = 500
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NOTE)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=512)]
NodePath = Annotated[str, StringConstraints(max_length=255, pattern=r"^/([0-9]{1,19}/)*$")]
RequestKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class DiscoveredView(View):
    """An address that a gateway hears and no device has."""

    connector: str
    kind: str
    address: str
    profiles: list[str]
    """Those that could read it, the best first."""
    frames: int
    first_at: datetime
    last_at: datetime
    sample: str
    """What the best profile reads in a frame of it; the frame's size when it holds a position or nothing reads it."""


class AdoptedView(View):
    """A device that was put into the configuration."""

    gateway: str
    device: str
    profile: str
    connector: str
    address: str
    location: str
    node: str
    config_version: int
    """The configuration that holds it."""


class DeviceProgress(View):
    """How far a device is that was adopted."""

    device: str
    profile: str
    location: str
    address: str
    config_version: int
    in_force: bool
    heard_at: datetime | None


class StepView(View):
    """Something that was done with a device or, with an empty name, with the gateway."""

    at: datetime
    device: str
    actor: str
    action: str
    """adopted, replaced."""
    connector: str
    address: str
    config_version: int
    note: str


class FindingView(View):
    """A line of `patrol-edge check`."""

    what: str
    state: str
    """ok, warn, fail."""
    detail: str


class StageView(View):
    """A stage of an installation."""

    step: Step
    state: StepState
    at: datetime | None = None
    detail: str = ""


class InstallView(View):
    """How far the installation of a gateway is."""

    gateway: str
    node: str
    stages: list[StageView]
    findings: list[FindingView]
    """Of the last check."""
    check: str | None
    """The command that checks now, or last did."""
    discovered: int
    devices: int
    heard: int


class WalkDeviceView(View):
    """A device in a walk test."""

    device: str
    profile: str
    location: str
    proof: Proof
    mark: Mark
    marked_at: datetime | None
    marked_by: str | None
    what: str
    """The kind of the alarm, or the metric, that proved it."""
    alarm: int | None
    held: bool
    """Its alarms tell nobody now."""
    latency_ms: int | None
    """From the device to the cloud."""
    shown_ms: int | None
    """From the device to the phone."""
    signal: float | None
    battery: float | None
    note: str


class WalkView(View):
    """A walk test."""

    id: int
    gateway: str
    node: str
    part: str
    started_at: datetime
    started_by: str
    ends_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    active: bool
    storm: bool
    """It was ended since alarms came faster than anybody walks; all of them were told."""
    total: int
    passed: int
    failed: int
    unreachable: int
    waiting: int


class WalkDetail(WalkView):
    """A walk test with its devices, those that wait first."""

    devices: list[WalkDeviceView]


class SheetView(View):
    """An acceptance sheet."""

    id: int
    gateway: str
    node: str
    walk: int | None
    made_at: datetime
    made_by: str
    zone: str
    digest: str
    state: str
    """signing, signed, unsigned."""
    reason: str
    """Why it is not signed."""
    signed_at: datetime | None
    fingerprint: str
    """SHA-256 of the certificate whose key signed, hex; empty when none did."""
    complete: bool
    """Every device passed."""


class FieldNews(View):
    """An event of kind `walk`: something changed in the field work at a gateway."""

    gateway: str
    about: str
    """discovered, adopted, replaced, walk, sheet, maintenance."""
    walk: int | None = None
    device: str = ""
    mark: str = ""


# ---- what it takes


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Where(_Body):
    location: Line = ""
    node: NodePath | None = None
    """Where it belongs; where its gateway does when it is left out."""
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> _Where:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat, lon: both or neither")
        return self


class Adoption(_Where):
    """Make a device of an address."""

    device: Name
    profile: Name
    connector: Name
    address: Address
    drill: bool = False


class Replacement(_Body):
    """The same device has other hardware now."""

    connector: Name | None = None
    """As before when it is left out."""
    address: Address
    note: Note = ""


class NewWalk(_Body):
    """Start a walk test."""

    gateway: Name
    part: Line = ""
    """What the locations of the devices begin with: `building-3/floor-2`; all when it is empty."""
    devices: Annotated[list[Name], Field(max_length=MAX_DEVICES)] = []
    """Only these; all when it is empty."""
    minutes: Annotated[int, Field(ge=MIN_MINUTES, le=MAX_MINUTES)] = 60


class MarkBody(_Body):
    """A result by hand."""

    mark: Mark
    note: Note = ""


class ShownBody(_Body):
    """Results that appeared on the technician's page: how many milliseconds ago, whatever the phone's clock says."""

    devices: Annotated[dict[Name, Annotated[int, Field(ge=0, lt=2**40)]], Field(min_length=1, max_length=MAX_DEVICES)]


class NewSheet(_Body):
    """Make an acceptance sheet. walk: the walk test that it is about, the gateway's last one when left out."""

    gateway: Name
    walk: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    note: Note = ""


class MaintenanceBody(_Body):
    """Maintenance of a gateway or a device that ends by itself."""

    gateway: Name
    device: Name | None = None
    minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
