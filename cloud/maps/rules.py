"""What of many things is drawn in a window of the map. Pure.

Owns the window, and how devices become marks: those at one point are one mark; when there are more points than
`MAX_MARKS`, those within one H3 cell are, with cells of about a fortieth of the window's width.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import h3
import shapely

from cloud.errors import Invalid
from cloud.maps.datum import Datum, from_datum, to_datum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_h3: Final[Any] = h3
"""It has no types."""
MAX_MARKS: Final = 500
MAX_OUTLINES: Final = 400
CELLS_ACROSS: Final = 40
_KM_PER_DEGREE: Final = 111.32
_DEAD: Final = 1e-9


class Window(NamedTuple):
    """A part of the map in WGS-84 degrees."""

    west: float
    south: float
    east: float
    north: float

    def holds(self, lat: float, lon: float) -> bool:
        """Whether a point lies within."""
        return self.south <= lat <= self.north and self.west <= lon <= self.east

    @property
    def width_km(self) -> float:
        """Along its middle."""
        middle = math.radians((self.south + self.north) / 2)
        return max((self.east - self.west) * _KM_PER_DEGREE * math.cos(middle), 0.001)


WORLD: Final = Window(-180.0, -90.0, 180.0, 90.0)


def window_of(bbox: str, datum: Datum = Datum.WGS84) -> Window:
    """The window that `west,south,east,north` on a datum means; empty means the world. Raises Invalid."""
    if not bbox:
        return WORLD
    try:
        west, south, east, north = (float(part) for part in bbox.split(","))
    except ValueError as e:
        raise Invalid("bbox: not west,south,east,north in degrees") from e
    if not (-540 <= west < east <= 540 and -90 <= south < north <= 90):
        raise Invalid("bbox: not west < east, south < north in degrees")
    low_lat, low_lon = from_datum(south, max(west, -180.0), datum)
    high_lat, high_lon = from_datum(north, min(east, 180.0), datum)
    return Window(low_lon, low_lat, high_lon, high_lat)


class Spot(NamedTuple):
    """A device somewhere."""

    gateway: str
    device: str
    node: str
    state: str
    lat: float
    lon: float


class Mark(NamedTuple):
    """Devices that are drawn as one."""

    lat: float
    lon: float
    spots: tuple[Spot, ...]


def marks(spots: Iterable[Spot], window: Window) -> tuple[list[Mark], bool]:
    """The marks within a window, and whether they are clusters."""
    by_point: dict[tuple[float, float], list[Spot]] = {}
    for spot in spots:
        if window.holds(spot.lat, spot.lon):
            by_point.setdefault((spot.lat, spot.lon), []).append(spot)
    if len(by_point) <= MAX_MARKS:
        return [Mark(lat, lon, tuple(found)) for (lat, lon), found in sorted(by_point.items())], False
    resolution = cell_resolution(window.width_km)
    by_cell: dict[str, list[Spot]] = {}
    for (lat, lon), found in by_point.items():
        by_cell.setdefault(str(_h3.latlng_to_cell(lat, lon, resolution)), []).extend(found)
    return [_middle(found) for _, found in sorted(by_cell.items())], True


def _middle(spots: Sequence[Spot]) -> Mark:
    lat = sum(spot.lat for spot in spots) / len(spots)
    lon = sum(spot.lon for spot in spots) / len(spots)
    return Mark(lat, lon, tuple(spots))


def cell_resolution(width_km: float) -> int:
    """The finest H3 resolution of whose cells no more than about `CELLS_ACROSS` lie side by side in a width."""
    edge_km = width_km / CELLS_ACROSS
    return next((r for r in range(15, 0, -1) if _h3.average_hexagon_edge_length(r, unit="km") >= edge_km), 0)


def nearest_point(path: str, points: dict[str, tuple[float, float]]) -> tuple[float, float] | None:
    """The point of a node, or of the nearest one above it that has one."""
    while path:
        if path in points:
            return points[path]
        path = path.rstrip("/").rpartition("/")[0]
        path = f"{path}/" if path else ""
    return None


@lru_cache(maxsize=8192)
def _geometry(text: str) -> Any:  # noqa: ANN401 - shapely has no types
    return shapely.from_geojson(text)


def box_of(outline: str) -> tuple[float, float, float, float]:
    """West, south, east, north of an outline."""
    west, south, east, north = _geometry(outline).bounds
    return west, south, east, north


def seen(outlines: dict[str, str], window: Window) -> dict[str, dict[str, Any]]:
    """The outlines that are worth drawing in a window, by the same keys: largest first, with the detail one can see.

    outlines: GeoJSON texts. What is smaller than a two-hundredth of the window is left out.
    """
    across = max(window.east - window.west, window.north - window.south)
    frame = shapely.box(*window)
    found = []
    for key, text in outlines.items():
        shape = _geometry(text)
        west, south, east, north = shape.bounds
        if max(east - west, north - south) * 200 >= across and shape.intersects(frame):
            found.append((shape.area, key, shape))
    found.sort(key=lambda each: (-each[0], each[1]))
    tolerance = across / 2000
    return {key: _drawn(shape, tolerance) for _, key, shape in found[:MAX_OUTLINES]}


def _drawn(shape: Any, tolerance: float) -> dict[str, Any]:  # noqa: ANN401
    simple = shapely.simplify(shape, tolerance, preserve_topology=True) if tolerance > _DEAD else shape
    text = shapely.to_geojson(simple)  # type: ignore[no-untyped-call]
    drawn: dict[str, Any] = json.loads(text)
    return drawn


def shifted(geometry: dict[str, Any], datum: Datum) -> dict[str, Any]:
    """A geometry as it lies on a datum."""
    return geometry if datum is Datum.WGS84 else geometry | {"coordinates": _shift(geometry["coordinates"], datum)}


def _shift(part: Any, datum: Datum) -> Any:  # noqa: ANN401 - nested lists of positions
    if part and isinstance(part[0], int | float):
        lat, lon = to_datum(part[1], part[0], datum)
        return [lon, lat]
    return [_shift(each, datum) for each in part]
