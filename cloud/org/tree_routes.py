"""The HTTP of the tree, and of putting gateways and devices at its nodes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.devices import service as devices
from cloud.devices.models import DeviceName  # noqa: TC001 - FastAPI reads annotations
from cloud.errors import Invalid
from cloud.org import node_files, tree, zones
from cloud.org.auth import Administrator, State, Viewer  # noqa: TC001 - FastAPI reads annotations
from cloud.org.node_models import (
    ChangedNode,
    Latitude,
    Longitude,
    NewNode,
    NodeDetail,
    NodePath,
    NodeView,
    detail_of,
    view_of,
)
from cloud.org.rules import ROOT
from cloud.paging import Page, View, decode_cursor, encode_cursor
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms

router = APIRouter(tags=["organisation"], responses=documented(401, 403, 422, 503))


class ImportedNodes(View):
    """What came of a collection."""

    added: int
    changed: int
    same: int


class Placement(BaseModel):
    """A gateway, or one device of it, and where it belongs.

    A gateway takes those of its devices along that have no place of their own.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    gateway: DeviceName
    device: DeviceName | None = None
    node: NodePath | None = Field()
    """null lets a device belong where its gateway does."""
    lat: Latitude | None = None
    """Where exactly a device is; goes with `lon`."""
    lon: Longitude | None = None

    def point(self) -> devices.Point | None:
        """Where exactly. Raises Invalid when it is half a point, or one of a gateway."""
        if self.lat is None and self.lon is None:
            return None
        if self.lat is None or self.lon is None or self.device is None or self.node is None:
            raise Invalid("lat, lon: both, and of a device at a node")
        return devices.Point(self.lat, self.lon)


class Placed(View):
    """Whether it was somewhere else before."""

    changed: bool


class NodeQuery(Part):
    """Which nodes a list shows. search: a part of a name or the code."""

    below: NodePath = ROOT
    kind: tree.Kind | None = None
    search: Annotated[str, StringConstraints(max_length=100)] = ""


@router.get("/nodes")
def list_nodes(state: State, who: Viewer, query: Annotated[NodeQuery, Query()]) -> Page[NodeView]:
    """Nodes within scope, at or below a path, parents before their children."""
    after = int(decode_cursor(query.cursor, int)[0]) if query.cursor else 0
    with state.db.read() as tx:
        found = tree.page_nodes(
            tx, who, below=query.below, kind=query.kind, search=query.search, after=after, limit=query.limit + 1
        )
    shown = found[: query.limit]
    following = encode_cursor(shown[-1].id) if len(found) > query.limit else None
    return Page(items=[view_of(node) for node in shown], next_cursor=following)


@router.post("/nodes", status_code=201, responses=documented(404, 409))
def add_node(state: State, who: Administrator, body: NewNode) -> NodeView:
    """Make a node below another."""
    names = (body.name_zh, body.name_en or body.name_zh)
    with state.db.begin() as tx:
        return view_of(
            tree.add_node(tx, who, body.parent, body.kind, names, now_ms=now_ms(), code=body.code, **body.more())
        )


@router.post("/nodes/import", responses=documented(404, 409))
def import_nodes(
    state: State,
    who: Administrator,
    body: node_files.FeatureCollection,
    parent: Annotated[NodePath | None, Query()] = None,
) -> ImportedNodes:
    """Bring in a GeoJSON FeatureCollection, all of it or none.

    Properties of a feature: `code`, `parent` (code of the node above), `kind`, `name_zh`, `name_en`, `population`,
    `settlement`, `time_zone`. A node whose code is known is brought up to date. `parent`: the path below which those
    without a parent belong, by default the caller's own node.
    """
    entries = node_files.of_features(body)
    with state.db.begin() as tx:
        top = tree.get_node(tx, who, parent).path if parent else who.node
        return ImportedNodes(**node_files.bring_in(tx, who, entries, now_ms(), top)._asdict())


@router.get("/nodes/{node_id}", responses=documented(404))
def get_node(state: State, who: Viewer, node_id: Id) -> NodeDetail:
    """One node with its outline and what it inherits."""
    with state.db.read() as tx:
        node = tree.find_id(tx, who, node_id)
        settlement = tree.inherited(tx, node.path, "settlement")
        zone = zones.zone_of(tx, node.path).key
    return detail_of(node, settlement, zone)


@router.patch("/nodes/{node_id}", responses=documented(404, 409))
def change_node(state: State, who: Administrator, node_id: Id, body: ChangedNode) -> NodeView:
    """Rename a node or give it other values; what is absent stays."""
    with state.db.begin() as tx:
        node = tree.find_id(tx, who, node_id)
        return view_of(tree.change_node(tx, who, node.path, body.columns(), now_ms()))


@router.delete("/nodes/{node_id}", status_code=204, responses=documented(404, 409))
def archive_node(state: State, who: Administrator, node_id: Id) -> None:
    """Put a node away for good; refused while anything belongs to it."""
    with state.db.begin() as tx:
        tree.archive_node(tx, who, tree.find_id(tx, who, node_id).path, now_ms())


@router.post("/places", responses=documented(404))
def place(state: State, who: Administrator, body: Placement) -> Placed:
    """Put a gateway or a device at a node; open alarms of it move along."""
    with state.db.begin() as tx:
        changed = devices.place(tx, who, body.gateway, body.device, body.node, now_ms(), body.point())
    return Placed(changed=changed)
