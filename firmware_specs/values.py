"""One raw value as a sample: its type checked against the metric, its unit brought to the profile's.

Owns what a decoded value may be, whatever the layout it came from. A value of another type is a FrameError; one that
is not finite, or in a unit that cannot be converted, is kept and marked bad.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from firmware_specs.errors import FrameError
from firmware_specs.readings import Position, Quality, Sample

if TYPE_CHECKING:
    from firmware_specs.schema import MetricSpec

MAX_TEXT: Final = 256
MAX_UNIT: Final = 32
MAX_FRAME_BYTES: Final = 64 * 1024
LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: a device time beyond it, or before 1970, is no time."""

_CONVERSIONS: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("K", "Cel"): (1.0, -273.15),
    ("mV", "V"): (0.001, 0.0),
    ("mA", "A"): (0.001, 0.0),
    ("hPa", "Pa"): (100.0, 0.0),
    ("km", "m"): (1000.0, 0.0),
    ("cm", "m"): (0.01, 0.0),
    ("mm", "m"): (0.001, 0.0),
    ("km/h", "m/s"): (1 / 3.6, 0.0),
    ("ms", "s"): (0.001, 0.0),
    ("min", "s"): (60.0, 0.0),
    ("KiB", "B"): (1024.0, 0.0),
    ("/", "%"): (100.0, 0.0),
}
"""(stated, wanted): factor, addend. RFC 8428 12.1 and the secondary units of RFC 8798."""


def sample(source: str, metric: str, spec: MetricSpec, raw: object, at_ms: int | None, *, unit: str = "") -> Sample:
    """The sample that `raw` makes. Raises FrameError, naming `source`, when it is not of the metric's type."""
    if spec.type == "number" and isinstance(raw, int | float) and not isinstance(raw, bool):
        return _number(metric, spec, float(raw), at_ms, unit)
    if spec.type == "bool" and isinstance(raw, bool):
        return Sample(metric, raw, at_ms)
    if spec.type == "text" and isinstance(raw, str):
        if len(raw) > MAX_TEXT:
            raise FrameError(source, 0, f"{metric}: {len(raw)} characters, more than {MAX_TEXT}")
        return Sample(metric, raw, at_ms)
    if spec.type == "position" and isinstance(raw, Position):
        return Sample(metric, raw, at_ms)
    raise FrameError(source, 0, f"{metric}: a {spec.type} is expected, not {type(raw).__name__}")


def _number(metric: str, spec: MetricSpec, value: float, at_ms: int | None, unit: str) -> Sample:
    if not math.isfinite(value):
        return Sample(metric, str(value), at_ms, Quality.BAD)
    if unit and unit != spec.unit:
        factor = _CONVERSIONS.get((unit, spec.unit))
        if factor is None:
            return Sample(metric, value, at_ms, Quality.BAD, unit[:MAX_UNIT])
        value = value * factor[0] + factor[1]
    return Sample(metric, value, at_ms)


def position(source: str, lat: float | None, lon: float | None, accuracy_m: float | None) -> Position | None:
    """A position of parts that may be absent. Raises FrameError for half of one, or one that is not on the globe."""
    if lat is None and lon is None:
        return None
    if lat is None or lon is None:
        raise FrameError(source, 0, "latitude without longitude, or longitude without latitude")
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise FrameError(source, 0, f"no such place: {lat:g}, {lon:g}")
    if accuracy_m is not None and not 0 <= accuracy_m < 1e9:
        accuracy_m = None
    return Position(lat, lon, accuracy_m)


def device_time(value: float | None, unit_ms: int) -> int | None:
    """A device's time as milliseconds, or None when it gave none that can be."""
    if type(value) is int and unit_ms == 1:
        return value if 0 < value <= LATEST_MS else None
    return round(value * unit_ms) if value is not None and 0 < value * unit_ms <= LATEST_MS else None
