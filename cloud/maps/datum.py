"""The datums of Chinese map tiles. Pure.

Everything of ours is WGS-84. Tiles sold in mainland China are drawn on GCJ-02, which shifts every place by some hundred
metres, or on Baidu's BD-09, which shifts GCJ-02 again. What is shown over such tiles is shifted the same way, at the
last moment and for display only. Outside of China's bounding box GCJ-02 is WGS-84. The way back has no closed form; it
is found by iteration, to a centimetre.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

_AXIS_M: Final = 6378245.0
_ECCENTRICITY: Final = 0.00669342162296594323
"""Of the ellipsoid of Krasovsky, squared."""
_SPIN: Final = math.pi * 3000.0 / 180.0
_ROUNDS: Final = 12


class Datum(StrEnum):
    """What the tiles are drawn on."""

    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"


def to_datum(lat: float, lon: float, datum: Datum) -> tuple[float, float]:
    """A place on WGS-84 as it lies on a datum."""
    if datum is Datum.WGS84:
        return lat, lon
    shifted = _gcj(lat, lon)
    return shifted if datum is Datum.GCJ02 else _bd(*shifted)


def from_datum(lat: float, lon: float, datum: Datum) -> tuple[float, float]:
    """The place on WGS-84 that lies there on a datum."""
    if datum is Datum.WGS84:
        return lat, lon
    found_lat, found_lon = lat, lon
    for _ in range(_ROUNDS):
        there_lat, there_lon = to_datum(found_lat, found_lon, datum)
        found_lat, found_lon = found_lat + lat - there_lat, found_lon + lon - there_lon
    return found_lat, found_lon


def _in_china(lat: float, lon: float) -> bool:
    return 0.8293 <= lat <= 55.8271 and 72.004 <= lon <= 137.8347


def _gcj(lat: float, lon: float) -> tuple[float, float]:
    if not _in_china(lat, lon):
        return lat, lon
    east, north = lon - 105.0, lat - 35.0
    common = 20.0 * math.sin(6.0 * math.pi * east) + 20.0 * math.sin(2.0 * math.pi * east)
    root = math.sqrt(abs(east))
    d_lat = -100.0 + 2.0 * east + 3.0 * north + 0.2 * north**2 + 0.1 * east * north + 0.2 * root
    d_lat += _waves(common, north, (20.0, 1), (40.0, 3), (160.0, 12), (320.0, 30))
    d_lon = 300.0 + east + 2.0 * north + 0.1 * east**2 + 0.1 * east * north + 0.1 * root
    d_lon += _waves(common, east, (20.0, 1), (40.0, 3), (150.0, 12), (300.0, 30))
    angle = math.radians(lat)
    flat = 1.0 - _ECCENTRICITY * math.sin(angle) ** 2
    per_lat = _AXIS_M * (1.0 - _ECCENTRICITY) / flat**1.5
    per_lon = _AXIS_M / math.sqrt(flat) * math.cos(angle)
    return lat + math.degrees(d_lat / per_lat), lon + math.degrees(d_lon / per_lon)


def _waves(common: float, along: float, *waves: tuple[float, int]) -> float:
    return (common + sum(height * math.sin(math.pi * along / width) for height, width in waves)) * 2.0 / 3.0


def _bd(lat: float, lon: float) -> tuple[float, float]:
    reach = math.hypot(lon, lat) + 0.00002 * math.sin(lat * _SPIN)
    angle = math.atan2(lat, lon) + 0.000003 * math.cos(lon * _SPIN)
    return reach * math.sin(angle) + 0.006, reach * math.cos(angle) + 0.0065
