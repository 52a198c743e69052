"""What the API says of gateways and devices."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN, Clock, Quality

DeviceName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Also of a gateway."""


class DeviceState(StrEnum):
    """A device as a person should see it."""

    NORMAL = "normal"
    ALARM = "alarm"
    """An alarm of it is open or acknowledged, not cleared."""
    FAULT = "fault"
    """Its battery, sensor or values are not in order."""
    UNKNOWN = "unknown"
    """Its gateway is offline, or nothing was ever heard of it."""
    OFFLINE = "offline"
    """Its gateway is there and the device is silent."""


class PositionView(View):
    """A point on WGS-84."""

    lat: float
    lon: float
    accuracy_m: float | None = None


class LatestView(View):
    """The last value that the gateway heard of a metric."""

    value: float | bool | str | PositionView
    unit: str
    observed_at: datetime
    received_at: datetime
    quality: Quality
    clock: Clock
    age_s: float
    """Since it was observed, when the answer was made; since it was received, when the observing clock lies ahead."""


class DeviceView(View):
    """A device with its latest values."""

    id: str
    gateway: str
    profile: str
    title_zh: str = ""
    title_en: str = ""
    category: str = "other"
    node: str = "/"
    """Path of the organisation node that it belongs to."""
    location: str
    connector: str = ""
    address: str = ""
    state: DeviceState
    reason: str = ""
    """Why it is not normal: `gateway-offline`, `never-heard`, `silent`, `bad-value`, or the kinds of its alarms."""
    alarms: int = 0
    """Alarms that are not cleared."""
    last_seen_at: datetime | None = None
    latest: dict[str, LatestView]


class LaneView(View):
    """What waits in one lane of a gateway's outbox."""

    waiting: int
    bytes: int
    oldest_at: datetime | None
    thinned: int


class LedgerView(View):
    """Readings accounted for: whatever a gateway ever numbered is in exactly one of the figures, `late` apart."""

    received: int = 0
    late: int = 0
    """Part of received."""
    thinned: int = 0
    lost: int = 0
    off_shift: int = 0
    """Positions of patrol members outside their shifts: refused, and kept nowhere."""


class GatewayView(View):
    """A gateway as the cloud knows it."""

    id: str
    node: str = "/"
    """Path of the organisation node that it belongs to."""
    location: str = ""
    online: bool
    last_seen_at: datetime | None
    changed_at: datetime | None
    """Since when it is online or offline."""
    agent_version: str
    boot: str
    config_hash: str
    config_version: int
    clock: Clock
    degraded: str
    """Empty, or what is wrong in one line."""
    connectors: dict[str, str]
    """Connector name to `up`, `connecting` or its last error."""
    counters: dict[str, int]
    outbox: dict[str, LaneView]
    ledger: LedgerView
    devices: int
    """How many it serves."""
    devices_silent: int = 0
    devices_unknown: int = 0
    """How many states are unknown because the gateway is offline."""


class PlaceEntry(BaseModel):
    """A gateway, or one device of it, and the node where it belongs, by code. lat, lon: where exactly a device is."""

    model_config = ConfigDict(extra="forbid")

    gateway: DeviceName
    device: DeviceName | None = None
    node: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat and lon come together")
        if self.lat is not None and self.device is None:
            raise ValueError("lat and lon are of a device")
        return self


class StateCounts(View):
    """Devices and gateways by state, within the caller's scope."""

    devices: dict[DeviceState, int]
    kinds: dict[str, dict[DeviceState, int]]
    """The same devices by category; what there is none of is absent."""
    gateways_online: int
    gateways_offline: int
