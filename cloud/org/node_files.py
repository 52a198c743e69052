"""Bringing nodes in: from a GeoJSON FeatureCollection, or from the `nodes` section of an organisation's file.

Owns the order (parents before children, whatever the order of the file) and what is a change: a node is found by its
code, made when there is none, and given the values of the file where they differ. It is never moved to another parent
nor made another kind: its path is what everything else belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.errors import Conflict, Invalid, NotFound
from cloud.importing import IMPORTERS, fault
from cloud.org import tree
from cloud.org.node_models import NodeEntry
from cloud.org.rules import ROOT, visible
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from cloud.org.rules import Principal

M = TypeVar("M", bound=BaseModel)
MAX_FEATURES: Final = 5000
_OWN: Final = {"code", "parent", "kind", "name_zh", "name_en"}


class Brought(NamedTuple):
    """What came of it."""

    added: int
    changed: int
    same: int


class Feature(BaseModel):
    """A node as a feature: its properties are the entry, its geometry the outline; null when it has none."""

    model_config = ConfigDict(extra="ignore")

    type: Annotated[str, Field(pattern=r"^Feature$")] = "Feature"
    geometry: dict[str, Any] | None = None
    properties: dict[str, Any]


class FeatureCollection(BaseModel):
    """Nodes as GeoJSON (RFC 7946), WGS-84."""

    model_config = ConfigDict(extra="ignore")

    type: Annotated[str, Field(pattern=r"^FeatureCollection$")] = "FeatureCollection"
    features: Annotated[list[Feature], Field(max_length=MAX_FEATURES)]


def of_features(collection: FeatureCollection) -> list[tuple[str, NodeEntry]]:
    """The entries of a collection, each with its place in it. Raises Invalid naming the feature and the cause."""
    found = []
    known = set(NodeEntry.model_fields)
    for number, feature in enumerate(collection.features, 1):
        named = {key: value for key, value in feature.properties.items() if key in known and value is not None}
        where = f"feature {number} ({clean(str(named.get('code', '?')), 64)})"
        if feature.geometry is not None:
            named["outline"] = feature.geometry
        found.append((where, entry_of(named, where)))
    return found


def entry_of(table: dict[str, Any], where: str) -> NodeEntry:
    """An entry of a file. Raises Invalid naming it, the key and the cause."""
    try:
        return NodeEntry.model_validate(table)
    except ValidationError as e:
        raise fault(where, e) from e


def checked(model: type[M], table: dict[str, Any]) -> M:
    """What somebody entered, as a model. Raises Invalid naming the field and the cause."""
    try:
        return model.model_validate(table)
    except ValidationError as e:
        raise fault("", e) from e


def bring_in(
    tx: Connection, actor: Principal, entries: Iterable[tuple[str, NodeEntry]], now_ms: int, top: str | None = None
) -> Brought:
    """Make or change the nodes of a file. top: where those without a parent belong, the actor's own node by default.

    Raises Invalid, NotFound, Conflict, naming the entry.
    """
    counts = {"added": 0, "changed": 0, "same": 0}
    for where, entry in in_order(list(entries)):
        try:
            counts[_put(tx, actor, entry, now_ms, actor.node if top is None else top)] += 1
        except (Invalid, NotFound, Conflict) as e:
            raise type(e)(f"{where}: {e}") from e
    return Brought(**counts)


def in_order(entries: Sequence[tuple[str, NodeEntry]]) -> list[tuple[str, NodeEntry]]:
    """Parents before their children. Raises Invalid on a code that comes twice and on a ring of parents."""
    by_code: dict[str, tuple[str, NodeEntry]] = {}
    for where, entry in entries:
        if entry.code in by_code:
            raise Invalid(f"{where}: code: {by_code[entry.code][0]} has it too")
        by_code[entry.code] = (where, entry)
    done: dict[str, tuple[str, NodeEntry]] = {}
    for code in by_code:
        chain = [code]
        while (parent := by_code[chain[-1]][1].parent) in by_code and parent not in done:
            if parent in chain:
                raise Invalid(f"{by_code[code][0]}: parent: {parent} is below itself")
            chain.append(parent)
        done |= {each: by_code[each] for each in reversed(chain) if each not in done}
    return list(done.values())


def _put(tx: Connection, actor: Principal, entry: NodeEntry, now_ms: int, top: str) -> str:
    parent = tree.find_code(tx, actor, entry.parent).path if entry.parent else top
    more = {name: value for name, value in entry.columns().items() if name not in _OWN}
    names = (entry.name_zh, entry.name_en or entry.name_zh)
    try:
        node = tree.find_code(tx, actor, entry.code)
    except NotFound:
        tree.add_node(tx, actor, parent, entry.kind, names, now_ms=now_ms, code=entry.code, **more)
        return "added"
    if node.kind is not entry.kind:
        raise Invalid(f"kind: it is a {node.kind} and stays one")
    if tree.parent_of(node.path) != parent and (entry.parent or visible(actor, ROOT)):
        raise Invalid("parent: it belongs elsewhere, and a node is not moved")
    changed = tree.change_node(tx, actor, node.path, {"name_zh": names[0], "name_en": names[1], **more}, now_ms)
    return "same" if changed == node else "changed"


def _section(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """The `nodes` section; how many were made or changed."""
    entries = []
    for number, table in enumerate(tables, 1):
        where = f"nodes[{number}] ({clean(str(table.get('code', '?')), 64)})"
        entries.append((where, entry_of(table, where)))
    done = bring_in(tx, actor, entries, now_ms)
    return done.added + done.changed


def _features(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """The features of a FeatureCollection; how many nodes were made or changed."""
    done = bring_in(tx, actor, of_features(checked(FeatureCollection, {"features": tables})), now_ms)
    return done.added + done.changed


IMPORTERS["features"] = _features
IMPORTERS["nodes"] = _section
