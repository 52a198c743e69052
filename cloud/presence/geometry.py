"""Places on the ground: how far a fix lies beyond a post's edge, checked outlines, and the cells of an area. Pure.

Owns what is taken from GeoJSON and the use of shapely and H3. Distances are taken on a plane that touches the earth at
the place, good to a thousandth within 50 km. Raises Invalid naming what is wrong with an outline.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import h3
import shapely
import shapely.geometry

from cloud.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_geos: Final[Any] = shapely
_h3: Final[Any] = h3
"""Neither has types."""
METRES: Final = 111_195.08
"""Of a degree of latitude, on a sphere of 6,371.0088 km."""
MAX_POST_M2: Final = 4e6
MAX_AREA_M2: Final = 1e9
MAX_LINE_M: Final = 50_000.0
CELLS: Final = 500
"""An area is covered by at most about this many cells: the finest resolution that keeps to it is chosen."""
MAX_CELLS: Final = 2_000
FINEST, COARSEST = 11, 6
"""Cells of 28 m and of 3.7 km a side."""
MAX_CHECKPOINTS: Final = 200
INDEX_RESOLUTION: Final = 8
"""Of the cells by which checkpoints are found: 530 m a side: one more cell around holds any reach."""


class Plane(NamedTuple):
    """Metres east and north of a point."""

    lat: float
    lon: float

    def at(self, lat: float, lon: float) -> tuple[float, float]:
        """Where a point lies."""
        return (lon - self.lon) * METRES * math.cos(math.radians(self.lat)), (lat - self.lat) * METRES


class Ground:
    """A circle or a polygon, and how far beyond its edge a point lies."""

    def __init__(self, lat: float, lon: float, radius_m: float, outline: str | None = None) -> None:
        self.lat, self.lon, self.reach_m = lat, lon, radius_m
        self._east = METRES * math.cos(math.radians(lat))
        self._polygon: Any = None
        if outline is not None:
            self._polygon = _flat(_geos.geometry.shape(json.loads(outline)), Plane(lat, lon))
            self._edge = self._polygon.boundary
            self.reach_m = math.sqrt(self._polygon.area / math.pi)
            _geos.prepare(self._polygon)

    def beyond(self, lat: float, lon: float) -> float:
        """Metres beyond the edge; negative inside."""
        east, north = (lon - self.lon) * self._east, (lat - self.lat) * METRES
        if self._polygon is None:
            return math.hypot(east, north) - self.reach_m
        point = _geos.Point(east, north)
        distance = float(self._edge.distance(point))
        return -distance if self._polygon.covers(point) else distance


def _flat(polygon: Any, plane: Plane) -> Any:  # noqa: ANN401 - shapely has no types
    return _geos.transform(polygon, lambda points: [plane.at(lat, lon) for lon, lat in points])


class Outline(NamedTuple):
    """A checked outline: its GeoJSON, a point inside, its size."""

    text: str
    lat: float
    lon: float
    area_m2: float


def checked(outline: dict[str, Any], kinds: Sequence[str], most_m2: float) -> Outline:
    """An outline that is one. Raises Invalid naming what is wrong."""
    if outline.get("type") not in kinds:
        raise Invalid(f"outline: type is none of {', '.join(kinds)}")
    try:
        polygon = _geos.geometry.shape(outline)
    except (ValueError, TypeError, AttributeError, IndexError, _geos.errors.ShapelyError) as e:
        raise Invalid(f"outline: {str(e)[:200] or 'no polygon'}") from e
    if polygon.is_empty or not polygon.is_valid:
        raise Invalid(f"outline: {_geos.is_valid_reason(polygon)[:200]}")
    west, south, east, north = polygon.bounds
    if not (-180 <= west <= east <= 180 and -85 <= south <= north <= 85):
        raise Invalid("outline: longitude and latitude, in this order, within 180 and 85 degrees")
    inside = polygon.representative_point()
    size = float(_flat(polygon, Plane(inside.y, inside.x)).area)
    if not 10 <= size <= most_m2:
        raise Invalid(f"outline: {size:.0f} m² is not between 10 and {most_m2:.0f}")
    return Outline(_geos.to_geojson(polygon), inside.y, inside.x, size)


def cells_of(outline: Outline) -> tuple[int, list[str]]:
    """The resolution for an area and the H3 cells that cover it. Raises Invalid when they would be too many."""
    made = _h3.geo_to_h3shape(json.loads(outline.text))
    for resolution in range(FINEST, COARSEST - 1, -1):
        if outline.area_m2 <= CELLS * _h3.average_hexagon_area(resolution, "m^2") or resolution == COARSEST:
            cells = sorted(_h3.h3shape_to_cells_experimental(made, resolution, "overlap"))
            if 0 < len(cells) <= MAX_CELLS:
                return resolution, cells
    raise Invalid("outline: too large or too jagged to be covered by cells")


def cell_at(lat: float, lon: float, resolution: int) -> str:
    """The cell of a point."""
    return str(_h3.latlng_to_cell(lat, lon, resolution))


def cell_centre(cell: str) -> tuple[float, float]:
    """Latitude and longitude of a cell's centre."""
    lat, lon = _h3.cell_to_latlng(cell)
    return float(lat), float(lon)


def cell_edge_m(resolution: int) -> float:
    """The side of a cell."""
    return float(_h3.average_hexagon_edge_length(resolution, "m"))


def around(lat: float, lon: float) -> list[str]:
    """The index cells in which a fix may be a visit of what lies at a point."""
    return [str(cell) for cell in _h3.grid_disk(_h3.latlng_to_cell(lat, lon, INDEX_RESOLUTION), 1)]


def circle(lat: float, lon: float, radius_m: float) -> str:
    """A circle as a GeoJSON polygon of 32 corners, for a map."""
    east = METRES * math.cos(math.radians(lat))
    corners = [
        (lon + radius_m * math.cos(turn) / east, lat + radius_m * math.sin(turn) / METRES)
        for turn in (2 * math.pi * n / 32 for n in range(32))
    ]
    ring = [[round(x, 7), round(y, 7)] for x, y in (*corners, corners[0])]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def line_text(points: Iterable[tuple[float, float]]) -> str:
    """A line of (lon, lat) as GeoJSON."""
    return json.dumps({"type": "LineString", "coordinates": [[round(x, 7), round(y, 7)] for x, y in points]})


def cut(line: Sequence[tuple[float, float]], every_m: float) -> list[tuple[float, float]]:
    """Points (lat, lon) along a line of (lon, lat), at most `every_m` apart, both ends among them. Raises Invalid."""
    plane = Plane(line[0][1], line[0][0])
    flat = _geos.LineString([plane.at(lat, lon) for lon, lat in line])
    length = float(flat.length)
    if not 1 <= length <= MAX_LINE_M:
        raise Invalid(f"line: {length:.0f} m is not between 1 and {MAX_LINE_M:.0f}")
    pieces = math.ceil(length / every_m)
    if pieces >= MAX_CHECKPOINTS:
        raise Invalid(f"line: more than {MAX_CHECKPOINTS} checkpoints; set them further apart")
    east = METRES * math.cos(math.radians(plane.lat))
    points = [flat.interpolate(n / pieces, normalized=True) for n in range(pieces + 1)]
    return [(plane.lat + point.y / METRES, plane.lon + point.x / east) for point in points]
