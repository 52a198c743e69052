"""Points for tests of telemetry stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.telemetry.store import Point
from firmware_specs.readings import Quality, Reading

if TYPE_CHECKING:
    from cloud.telemetry.store import TelemetryStore
    from firmware_specs.readings import Value


def point(
    gateway: str, value: Value, at: int, *, metric: str = "temperature", device: str = "dev-1", unit: str = "Cel",
    quality: Quality = Quality.GOOD,
) -> Point:  # fmt: skip
    """A point with what matters to a store."""
    return Point(gateway, Reading(device, metric, value, unit, at, at, quality=quality))


def visible(store: TelemetryStore) -> None:
    """Let the store show what was written."""
    flush = getattr(store, "flush", None)
    if flush:
        flush()
