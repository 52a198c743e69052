"""The organisation tree: district > town > street > community > building > floor > unit, any depth.

Owns the rows of `nodes` and what is inherited along a path. A node's path never changes: it is what everything else
belongs to. Reading is scoped by `rules.visible`; what lies outside is not found. Changing is for administrators. A node
that holds something is not archived: whoever keeps things at nodes enters in `OCCUPANTS` how many there are.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit
from cloud.org.rules import ROOT, Permission, Principal, ancestors, scope, visible
from cloud.org.store import nodes
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
OCCUPANTS: Final[dict[str, Callable[[Connection, str, int], int]]] = {}
"""By what they are called: how many things there are at exactly a node, at a time."""
MAX_PATH: Final = 255


def _node(row: Row[Any]) -> Node:
    return Node(
        row.id, row.path, Kind(row.kind), row.code, row.name_zh, row.name_en, row.outline, row.lat, row.lon,
        row.population, Settlement(row.settlement) if row.settlement else None, row.time_zone,
    )  # fmt: skip


def parent_of(path: str) -> str:
    """The path of the node above; the root's is the root."""
    return ancestors(path)[-2] if path != ROOT else ROOT


def may_administer(actor: Principal) -> None:
    """Raises Forbidden when the actor's role does not permit it."""
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not administer")


def get_node(tx: Connection, principal: Principal, path: str, *, hold: bool = False) -> Node:
    """A node within scope. hold: keep it from being archived until the transaction ends. Raises NotFound."""
    if path == ROOT and visible(principal, ROOT):
        return TOP
    wanted = sa.select(nodes).where(nodes.c.path == path, nodes.c.archived_at.is_(None))
    row = tx.execute(wanted.with_for_update(read=True) if hold else wanted).first()
    if row is None or not visible(principal, path):
        raise NotFound(f"node {clean(path, MAX_PATH)}: not known")
    return _node(row)


def find_code(tx: Connection, principal: Principal, code: str) -> Node:
    """A node within scope by its code. Raises NotFound."""
    row = tx.execute(sa.select(nodes).where(nodes.c.code == code, nodes.c.archived_at.is_(None))).first()
    if row is None or not visible(principal, row.path):
        raise NotFound(f"node {code}: not known")
    return _node(row)


def find_id(tx: Connection, principal: Principal, node_id: int) -> Node:
    """A node within scope by its id. Raises NotFound."""
    row = tx.execute(sa.select(nodes).where(nodes.c.id == node_id, nodes.c.archived_at.is_(None))).first()
    if row is None or not visible(principal, row.path):
        raise NotFound(f"node {node_id}: not known")
    return _node(row)


def find_named(tx: Connection, principal: Principal, name: str) -> Node:
    """A node within scope by what a person calls it: a path such as `/3/17/`, else a code. Raises NotFound."""
    return get_node(tx, principal, name) if name.startswith(ROOT) else find_code(tx, principal, name)


def list_nodes(tx: Connection, principal: Principal, below: str = ROOT) -> list[Node]:
    """Every node within scope at or below a path, parents before their children."""
    wanted = sa.select(nodes).where(
        scope(principal, nodes.c.path), nodes.c.path.startswith(below, autoescape=True), nodes.c.archived_at.is_(None)
    )
    return [_node(row) for row in tx.execute(wanted.order_by(nodes.c.id))]


def page_nodes(
    tx: Connection, principal: Principal, *, below: str = ROOT, kind: Kind | None = None, search: str = "",
    after: int = 0, limit: int = 100,
) -> list[Node]:  # fmt: skip
    """The next nodes within scope behind an id, parents before their children. search: a part of a name or the code."""
    wanted = sa.select(nodes).where(
        scope(principal, nodes.c.path), nodes.c.path.startswith(below, autoescape=True), nodes.c.archived_at.is_(None),
        nodes.c.id > after,
    )  # fmt: skip
    if kind is not None:
        wanted = wanted.where(nodes.c.kind == kind.value)
    if search:
        named = (nodes.c.name_zh, nodes.c.name_en, nodes.c.code)
        wanted = wanted.where(sa.or_(*(column.icontains(search, autoescape=True) for column in named)))
    return [_node(row) for row in tx.execute(wanted.order_by(nodes.c.id).limit(limit))]


class Stop(NamedTuple):
    """A node on the way from the root to another, as far as it says where something is."""

    path: str
    kind: Kind
    lat: float | None
    lon: float | None


def places(tx: Connection, path: str) -> list[Stop]:
    """The nodes above a node and the node itself, from the top; the root and what is archived are left out."""
    columns = (nodes.c.path, nodes.c.kind, nodes.c.lat, nodes.c.lon)
    above = sa.select(*columns).where(nodes.c.path.in_(ancestors(path)), nodes.c.archived_at.is_(None))
    return [
        Stop(row.path, Kind(row.kind), row.lat, row.lon)
        for row in tx.execute(above.order_by(sa.func.length(nodes.c.path)))
    ]


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
    may_administer(actor)
    above = get_node(tx, actor, parent, hold=True)
    order = list(Kind)
    if above.path != ROOT and order.index(kind) <= order.index(above.kind):
        raise Invalid(f"kind: a {kind} cannot be below a {above.kind}")
    _free(tx, code)
    values = {"kind": kind.value, "code": code, "name_zh": clean(name[0], 200), "name_en": clean(name[1], 200), **more}
    put = nodes.insert().values(path=f"?{uuid.uuid4().hex}", created_at=now_ms, **values).returning(nodes.c.id)
    made = int(tx.execute(put).scalar_one())
    path = f"{above.path}{made}/"
    if len(path) > MAX_PATH:
        raise Invalid("parent: the tree is too deep")
    tx.execute(nodes.update().where(nodes.c.id == made).values(path=path))
    audit.record(tx, actor, "node.add", f"node{path}", at=now_ms, detail=clean(name[0], 200))
    return get_node(tx, actor, path)


def _free(tx: Connection, code: str | None) -> None:
    """Raises Conflict when a code is in use."""
    if code and tx.execute(sa.select(nodes.c.id).where(nodes.c.code == code)).first():
        raise Conflict(f"node {code}: exists already")


def change_node(tx: Connection, actor: Principal, path: str, changes: dict[str, Any], now_ms: int) -> Node:
    """Give a node other values: code, name_zh, name_en, outline, lat, lon, population, settlement, time_zone.

    What is the same already is no change. Raises NotFound, Forbidden, Conflict on a code in use.
    """
    may_administer(actor)
    if path == ROOT:
        raise Invalid("node /: the root is not changed")
    node = get_node(tx, actor, path)
    wanted = {name: clean(value, 200) if name.startswith("name_") else value for name, value in changes.items()}
    wanted = {name: value for name, value in wanted.items() if getattr(node, name) != value}
    if not wanted:
        return node
    if "code" in wanted:
        _free(tx, wanted["code"])
    tx.execute(nodes.update().where(nodes.c.id == node.id).values(**wanted))
    audit.record(tx, actor, "node.change", f"node{path}", at=now_ms, detail=_told(wanted))
    return get_node(tx, actor, path)


def _told(changes: dict[str, Any]) -> str:
    """What was changed, for the audit chain; an outline is too long to be told."""
    parts = (name if name == "outline" else f"{name}={value}" for name, value in sorted(changes.items()))
    return clean(", ".join(parts), 2000)


def counting(table: sa.Table, *held: sa.ColumnElement[bool]) -> Callable[[Connection, str, int], int]:
    """For `OCCUPANTS`: the rows of a table whose column `node` is the path and for which the conditions hold."""

    def count(tx: Connection, path: str, _now_ms: int) -> int:
        rows = sa.select(sa.func.count()).select_from(table).where(table.c.node == path, *held)
        return int(tx.execute(rows).scalar_one())

    return count


def archive_node(tx: Connection, actor: Principal, path: str, now_ms: int) -> None:
    """Put a node away for good; its code is free again. Raises NotFound, Conflict while it holds anything."""
    may_administer(actor)
    if path == ROOT:
        raise Invalid("node /: the root is not archived")
    node = get_node(tx, actor, path)
    # Whoever puts something there holds the row meanwhile: see `get_node`.
    tx.execute(sa.select(nodes.c.id).where(nodes.c.id == node.id).with_for_update())
    held = {"nodes": _children(tx, path)} | {name: count(tx, path, now_ms) for name, count in sorted(OCCUPANTS.items())}
    if any(held.values()):
        told = ", ".join(f"{count} {name}" for name, count in held.items() if count)
        raise Conflict(f"node {node.code or path}: holds {told}")
    if path == actor.node:
        raise Conflict(f"node {node.code or path}: nobody archives their own node")
    tx.execute(nodes.update().where(nodes.c.id == node.id).values(archived_at=now_ms, code=None))
    audit.record(tx, actor, "node.archive", f"node{path}", at=now_ms, detail=node.code or "")


def _children(tx: Connection, path: str) -> int:
    below = nodes.c.path.startswith(path, autoescape=True)
    counted = sa.select(sa.func.count()).where(below, nodes.c.path != path, nodes.c.archived_at.is_(None))
    return int(tx.execute(counted).scalar_one())
