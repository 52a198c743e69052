"""The organisation tree: district > town > street > community > building > floor > unit, any depth.

Owns the rows of `nodes` and what is inherited along a path. A node's path never changes: it is what everything else
belongs to. Reading is scoped by `rules.visible`; what lies outside is not found.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloud.errors import Conflict, Invalid, NotFound
from cloud.org import audit
from cloud.org.rules import ROOT, Principal, ancestors, scope, visible
from cloud.org.store import nodes
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row


class Kind(StrEnum):
    """What a node is, from the top."""

    DISTRICT = "district"
    TOWN = "town"
    STREET = "street"
    COMMUNITY = "community"
    BUILDING = "building"
    FLOOR = "floor"
    UNIT = "unit"


class Settlement(StrEnum):
    """What strength of patrol is due: 50 or 30 per 100,000 people."""

    URBAN = "urban"
    RURAL = "rural"


class Node(NamedTuple):
    """A node as it is. id: 0 for the root. settlement, time_zone: None when inherited. outline: GeoJSON, as text."""

    id: int
    path: str
    kind: Kind
    code: str | None
    name_zh: str
    name_en: str
    outline: str | None = None
    lat: float | None = None
    lon: float | None = None
    population: int | None = None
    settlement: Settlement | None = None
    time_zone: str | None = None


TOP = Node(0, ROOT, Kind.DISTRICT, None, "全部", "Everything")
"""The root has no row: it is what administrators of the whole system belong to."""


def _node(row: Row[Any]) -> Node:
    return Node(
        row.id, row.path, Kind(row.kind), row.code, row.name_zh, row.name_en, row.outline, row.lat, row.lon,
        row.population, Settlement(row.settlement) if row.settlement else None, row.time_zone,
    )  # fmt: skip


def parent_of(path: str) -> str:
    """The path of the node above; the root's is the root."""
    return ancestors(path)[-2] if path != ROOT else ROOT


def get_node(tx: Connection, principal: Principal, path: str) -> Node:
    """A node within scope. Raises NotFound."""
    if path == ROOT and visible(principal, ROOT):
        return TOP
    row = tx.execute(sa.select(nodes).where(nodes.c.path == path, nodes.c.archived_at.is_(None))).first()
    if row is None or not visible(principal, path):
        raise NotFound(f"node {path}: not known")
    return _node(row)


def find_code(tx: Connection, principal: Principal, code: str) -> Node:
    """A node within scope by its code. Raises NotFound."""
    row = tx.execute(sa.select(nodes).where(nodes.c.code == code, nodes.c.archived_at.is_(None))).first()
    if row is None or not visible(principal, row.path):
        raise NotFound(f"node {code}: not known")
    return _node(row)


def list_nodes(tx: Connection, principal: Principal, below: str = ROOT) -> list[Node]:
    """Every node within scope at or below a path, parents before their children."""
    wanted = sa.select(nodes).where(
        scope(principal, nodes.c.path), nodes.c.path.startswith(below, autoescape=True), nodes.c.archived_at.is_(None)
    )
    return [_node(row) for row in tx.execute(wanted.order_by(nodes.c.id))]


def names(tx: Connection, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What nodes are called in Chinese and English, by path; the root's is there too."""
    wanted = set(paths)
    rows = tx.execute(sa.select(nodes.c.path, nodes.c.name_zh, nodes.c.name_en).where(nodes.c.path.in_(wanted)))
    found = {row.path: (row.name_zh, row.name_en) for row in rows}
    return found | ({ROOT: (TOP.name_zh, TOP.name_en)} if ROOT in wanted else {})


def inherited(tx: Connection, path: str, column: str) -> Any:  # noqa: ANN401 - whatever the column holds
    """The value of a column (settlement, time_zone, population) at the nearest node upwards that has one, or None."""
    of = nodes.c[column]
    above = sa.select(of).where(nodes.c.path.in_(ancestors(path)), of.is_not(None))
    return tx.execute(above.order_by(sa.func.length(nodes.c.path).desc()).limit(1)).scalar()


def add_node(
    tx: Connection, actor: Principal, parent: str, kind: Kind, name: tuple[str, str], *, now_ms: int,
    code: str | None = None, **more: Any,  # noqa: ANN401 - the columns of a node
) -> Node:  # fmt: skip
    """Make a node below another.

    name: in Chinese and English. more: outline, lat, lon, population, settlement, time_zone.

    Raises NotFound when the parent is not within scope, Invalid when the kinds do not fit, Conflict on a code in use.
    """
    above = get_node(tx, actor, parent)
    order = list(Kind)
    if above.path != ROOT and order.index(kind) <= order.index(above.kind):
        raise Invalid(f"kind: a {kind} cannot be below a {above.kind}")
    if code and tx.execute(sa.select(nodes.c.id).where(nodes.c.code == code)).first():
        raise Conflict(f"node {code}: exists already")
    values = {"kind": kind.value, "code": code, "name_zh": clean(name[0], 200), "name_en": clean(name[1], 200), **more}
    put = nodes.insert().values(path=f"?{now_ms}", created_at=now_ms, **values).returning(nodes.c.id)
    made = int(tx.execute(put).scalar_one())
    path = f"{above.path}{made}/"
    if len(path) > 255:
        raise Invalid("parent: the tree is too deep")
    tx.execute(nodes.update().where(nodes.c.id == made).values(path=path))
    audit.record(tx, actor, "node.add", f"node{path}", at=now_ms, detail=clean(name[0], 200))
    return get_node(tx, actor, path)
