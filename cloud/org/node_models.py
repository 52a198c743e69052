"""What the API says of nodes, and what it and the importer take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.org.outlines import outline_of
from cloud.org.rules import ROOT
from cloud.org.tree import Kind, Node, Settlement, parent_of
from cloud.paging import View
from cloud.settings import TimeZone  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_PATTERN: Final = r"^/([1-9][0-9]{0,17}/)*$"
CODE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"


NodePath = Annotated[str, StringConstraints(pattern=PATH_PATTERN, max_length=255)]
"""A node by its path: `/` the root, `/3/17/`."""
Code = Annotated[str, StringConstraints(pattern=CODE_PATTERN)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Population = Annotated[int, Field(ge=0, lt=2**31)]


class NodeView(View):
    """A node of the organisation."""

    id: int
    path: str
    """What belongs to it carries this path; what is below it, one that begins so."""
    parent: str
    """Path of the node above."""
    kind: Kind
    code: str | None
    name_zh: str
    name_en: str
    lat: float | None
    lon: float | None
    population: int | None
    settlement: Settlement | None
    """None when inherited from above."""
    time_zone: str | None
    """None when inherited from above."""
    outlined: bool
    """Whether it has an outline."""


class NodeDetail(NodeView):
    """A node with its outline and what it inherits."""

    outline: dict[str, Any] | None
    """GeoJSON Polygon or MultiPolygon, WGS-84."""
    settlement_in_force: Settlement | None
    time_zone_in_force: str


class Values(BaseModel):
    """What may be said of a node; what is absent stays as it is, null takes it away."""

    model_config = ConfigDict(extra="forbid")

    outline: dict[str, Any] | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    population: Population | None = None
    settlement: Settlement | None = None
    time_zone: Annotated[TimeZone, StringConstraints(min_length=1, max_length=64)] | None = None

    def columns(self) -> dict[str, Any]:
        """The values that were given, as columns; an outline brings its point unless one is given. Raises Invalid."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("outline") is not None:
            checked = outline_of(given["outline"])
            given = {"lat": checked.lat, "lon": checked.lon} | given | {"outline": checked.text}
        return given


class NewNode(Values):
    """A node to be made."""

    parent: NodePath = ROOT
    kind: Kind
    code: Code | None = None
    name_zh: Name
    name_en: Name | None = None
    """The Chinese name when absent."""

    def more(self) -> dict[str, Any]:
        """The columns beside place, kind, code and names."""
        own = {"parent", "kind", "code", "name_zh", "name_en"}
        return {name: value for name, value in self.columns().items() if name not in own}


class ChangedNode(Values):
    """Other values for a node."""

    code: Code | None = None
    name_zh: Name = ""
    name_en: Name = ""


class NodeEntry(Values):
    """A node of a file: it is found by its code, or made. parent: code of the node above, None for the top."""

    code: Code
    parent: Code | None = None
    kind: Kind
    name_zh: Name
    name_en: Name | None = None


def view_of(node: Node) -> NodeView:
    """A node as the API says it."""
    return NodeView(**_fields(node))


def detail_of(node: Node, settlement: str | None, time_zone: str) -> NodeDetail:
    """A node with its outline. settlement, time_zone: what is in force there."""
    return NodeDetail(
        **_fields(node), outline=json.loads(node.outline) if node.outline else None,
        settlement_in_force=Settlement(settlement) if settlement else None, time_zone_in_force=time_zone,
    )  # fmt: skip


def _fields(node: Node) -> Mapping[str, Any]:
    fields = {name: value for name, value in node._asdict().items() if name != "outline"}
    return fields | {"parent": parent_of(node.path), "outlined": node.outline is not None}
