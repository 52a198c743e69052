"""Where a node lies: GeoJSON outlines on WGS-84, checked. Pure.

Owns what an outline may be: a Polygon or MultiPolygon whose rings are closed, whose positions are in range, and which
does not cross itself; and its limits. What is accepted is kept as compact text with positions of seven decimals (one
centimetre), without altitudes. Raises Invalid with the cause, beginning with `outline`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple

import shapely
from shapely.errors import ShapelyError  # type: ignore[attr-defined]  # it is there, without a type

from cloud.errors import Invalid

MAX_VERTICES: Final = 20_000
MAX_BYTES: Final = 800_000
"""Of an outline as text."""
DECIMALS: Final = 7


class Outline(NamedTuple):
    """An accepted outline. text: GeoJSON. lat, lon: a point inside. box: west, south, east, north."""

    text: str
    lat: float
    lon: float
    box: tuple[float, float, float, float]


def outline_of(geometry: object) -> Outline:
    """Check a GeoJSON geometry. Raises Invalid."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in {"Polygon", "MultiPolygon"}:
        raise Invalid(f"outline: {str(kind)[:40]!r} is neither Polygon nor MultiPolygon")
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons:
        raise Invalid("outline: coordinates: not a list of polygons")
    seen = 0
    cleaned = []
    for number, polygon in enumerate(polygons, 1):
        if not isinstance(polygon, list) or not polygon:
            raise Invalid(f"outline: polygon {number}: not a list of rings")
        rings = []
        for place, ring in enumerate(polygon, 1):
            rings.append(_ring(ring, f"outline: polygon {number}, ring {place}", MAX_VERTICES - seen))
            seen += len(rings[-1])
        cleaned.append(rings)
    return _whole(str(kind), cleaned[0] if kind == "Polygon" else cleaned)


def _ring(ring: Any, where: str, most: int) -> list[list[float]]:  # noqa: ANN401 - whatever the file holds
    if not isinstance(ring, list) or len(ring) < 4:
        raise Invalid(f"{where}: fewer than 4 positions")
    if len(ring) > most:
        raise Invalid(f"{where}: more than {MAX_VERTICES} positions in all")
    positions = [_position(position, f"{where}, position {number}") for number, position in enumerate(ring, 1)]
    if positions[0] != positions[-1]:
        raise Invalid(f"{where}: not closed, its last position is not its first")
    return positions


def _position(position: Any, where: str) -> list[float]:  # noqa: ANN401
    if not isinstance(position, list) or not 2 <= len(position) <= 3:
        raise Invalid(f"{where}: not [longitude, latitude]")
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in position):
        raise Invalid(f"{where}: not numbers")
    lon, lat = position[0], position[1]
    if not (-180 <= lon <= 180 and -90 <= lat <= 90) or not math.isfinite(lon) or not math.isfinite(lat):
        raise Invalid(f"{where}: [{lon:g}, {lat:g}] is not within longitude ±180, latitude ±90")
    return [round(float(lon), DECIMALS), round(float(lat), DECIMALS)]


def _whole(kind: str, coordinates: Any) -> Outline:  # noqa: ANN401 - nested lists of either kind
    geometry = {"type": kind, "coordinates": coordinates}
    text = json.dumps(geometry, separators=(",", ":"))
    if len(text) > MAX_BYTES:
        raise Invalid(f"outline: more than {MAX_BYTES} bytes")
    try:
        made = shapely.from_geojson(text)
        if not made.is_valid:
            reason = shapely.is_valid_reason(made)  # type: ignore[no-untyped-call]
            raise Invalid(f"outline: {reason}")
        if made.is_empty or made.area == 0:
            raise Invalid("outline: encloses nothing")
        inside = made.representative_point()
    except (ShapelyError, ValueError) as e:
        raise Invalid(f"outline: {e}") from e
    west, south, east, north = made.bounds
    return Outline(text, round(inside.y, DECIMALS), round(inside.x, DECIMALS), (west, south, east, north))
