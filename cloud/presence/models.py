"""What the API takes and gives of posts, routes, areas and coverage."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.paging import View
from cloud.presence.rules import PostState, Reason, Standing  # noqa: TC001

Degrees = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Lat = Annotated[float, Field(ge=-85, le=85, allow_inf_nan=False)]
Point = Annotated[list[Degrees], Field(min_length=2, max_length=3)]
"""Longitude, latitude."""
Ring = Annotated[list[Point], Field(min_length=4, max_length=2000)]
Rings = Annotated[list[Ring], Field(min_length=1, max_length=50)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
NodePath = Annotated[str, StringConstraints(pattern=r"^/([0-9]{1,19}/)*$", max_length=255)]
Radius = Annotated[float, Field(ge=5, le=500, allow_inf_nan=False)]
Seconds = Annotated[int, Field(ge=60, le=7 * 86_400)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Polygon(_In):
    """A GeoJSON polygon: rings of longitude, latitude."""

    type: Literal["Polygon"]
    coordinates: Rings


class MultiPolygon(_In):
    """Several GeoJSON polygons."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Rings], Field(min_length=1, max_length=50)]


class Line(_In):
    """A GeoJSON line."""

    type: Literal["LineString"]
    coordinates: Annotated[list[Point], Field(min_length=2, max_length=2000)]


class Named(_In):
    """What posts, routes and areas have in common."""

    node: NodePath
    """The organisation node it belongs to."""
    code: Code | None = None
    name_zh: Name
    name_en: Name


class PostIn(Named):
    """A post: a circle, or a polygon that stands instead of it."""

    lat: Lat | None = None
    lon: Degrees | None = None
    radius_m: Radius = 30
    outline: Polygon | None = None
    headcount: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many are required at level 4."""
    headcounts: Annotated[dict[Literal["1", "2", "3", "4"], Annotated[int, Field(ge=0, le=1000)]], Field()] = {}
    """How many are required at a level, instead of the level's percentage of `headcount`."""
    grace_s: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long it may be unmanned before that is an alarm."""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.outline is None and (self.lat is None or self.lon is None):
            raise ValueError("lat and lon, or an outline, are needed")
        return self


class CheckpointIn(_In):
    """One point of a route."""

    name: Annotated[str, StringConstraints(max_length=100, strip_whitespace=True)] = ""
    lat: Lat
    lon: Degrees
    radius_m: Annotated[float, Field(ge=5, le=200, allow_inf_nan=False)] = 25


class RouteIn(Named):
    """A route: checkpoints in their order, or a line that is cut into them."""

    checkpoints: Annotated[list[CheckpointIn], Field(max_length=200)] = []
    line: Line | None = None
    every_m: Annotated[float, Field(ge=10, le=5000, allow_inf_nan=False)] = 100
    """How far apart a line's checkpoints are."""
    revisit_s: Seconds = 3600
    """Each checkpoint is to be seen again within this time."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if bool(self.checkpoints) == (self.line is not None):
            raise ValueError("either checkpoints or a line is needed")
        return self


class AreaIn(Named):
    """An area that is to be seen all over."""

    outline: Annotated[Polygon | MultiPolygon, Field(discriminator="type")]
    revisit_s: Seconds = 3600
    """Each of its cells is to be seen again within this time."""


class PostView(View):
    """A post and the state it is in."""

    id: int
    node: str
    code: str | None
    name_zh: str
    name_en: str
    lat: float
    lon: float
    radius_m: float
    outline: dict[str, Any] | None
    headcount: int
    headcounts: dict[str, int]
    grace_s: int
    state: PostState
    reason: Reason
    since: datetime
    present: int
    required: int


class PresenceView(View):
    """How a post stands: what the event stream tells as `presence`."""

    id: int
    node: str
    name_zh: str
    name_en: str
    state: PostState
    reason: Reason
    since: datetime
    present: int
    required: int


class MomentView(View):
    """From when on a post was in a state."""

    at: datetime
    state: PostState
    reason: Reason
    present: int
    required: int


class WhoView(View):
    """What is known of one rostered member at a post."""

    member: int
    call_sign: str
    standing: Standing
    reason: Reason
    since: datetime
    heard_at: datetime | None


class CheckpointView(View):
    """One point of a route and when a patrol was last there."""

    name: str
    lat: float
    lon: float
    radius_m: float
    seen_at: datetime | None


class RouteView(View):
    """A route."""

    id: int
    node: str
    code: str | None
    name_zh: str
    name_en: str
    kind: Literal["checkpoints", "line"]
    line: dict[str, Any] | None
    checkpoints: list[CheckpointView]
    revisit_s: int
    overdue_since: datetime | None


class AreaView(View):
    """An area."""

    id: int
    node: str
    code: str | None
    name_zh: str
    name_en: str
    outline: dict[str, Any]
    resolution: int
    cells: int
    revisit_s: int


class GapView(View):
    """A place that was not seen in time. name: of a checkpoint, or the H3 cell. seen_at: None when never."""

    name: str
    lat: float
    lon: float
    seen_at: datetime | None
    minutes: int | None


class CoverageView(View):
    """How well an area or a route was seen.

    seen_share: of its cells or checkpoints, now within the revisit time. time_share: of the time asked for, averaged
    over them. gaps: the longest unseen first.
    """

    kind: Literal["area", "route"]
    id: int
    node: str
    name_zh: str
    name_en: str
    revisit_s: int
    places: int
    seen_share: float
    time_share: float
    gaps: list[GapView]


class VisibilityView(View):
    """In how many of the looks, one a minute, at the members on shift of a node a usable fix was at hand."""

    node: str
    looks: int
    seen: int
    share: float
