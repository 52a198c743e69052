"""What forms and lists say of the organisation's nodes: which one something is about, and what each is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud.org import tree
from cloud.org.rules import ROOT
from cloud.org.tree import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection

    from cloud.console.ui import Ui

LARGE: Final = frozenset({Kind.DISTRICT, Kind.TOWN, Kind.STREET, Kind.COMMUNITY})
PLACES: Final = LARGE | {Kind.BUILDING}
EVERY: Final = frozenset(Kind)
_INDENT: Final = "\u2003"
_MOST: Final = 2000
"""Nodes offered to choose from."""


def names(tx: Connection, ui: Ui, paths: Iterable[str | None]) -> dict[str, str]:
    """What nodes are called in the viewer's language, by path; one that is gone is called by its path."""
    wanted = {path for path in paths if path}
    found = tree.names(tx, wanted)
    return {path: ui.called(*found.get(path, ("", ""))) or path for path in wanted}


def order(path: str) -> list[int]:
    """By which nodes stand below what they lie in."""
    return [int(part) for part in path.split("/") if part]


def nodes(
    tx: Connection, ui: Ui, kinds: Collection[Kind] = EVERY, *, top: bool = True
) -> list[tuple[str, str]]:  # fmt: skip
    """Path and name of every node within scope of some kinds, each below its parent and further in.

    top: whether somebody whose place is the whole tree may choose the whole tree.
    """
    found = {node.path: node for node in tree.list_nodes(tx, ui.who) if node.kind in kinds}
    if top and ui.who.node == ROOT:
        found[ROOT] = tree.TOP
    ordered = sorted(found, key=order)[:_MOST]
    least = min((path.count("/") for path in ordered), default=0)
    return [
        (path, _INDENT * (path.count("/") - least) + ui.called(found[path].name_zh, found[path].name_en))
        for path in ordered
    ]
