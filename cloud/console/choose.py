"""Fields that several forms share: which unit of the organisation something is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud.org import tree
from cloud.org.rules import ROOT
from cloud.org.tree import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.console.ui import Ui

LARGE: Final = frozenset({Kind.DISTRICT, Kind.TOWN, Kind.STREET, Kind.COMMUNITY})
PLACES: Final = LARGE | {Kind.BUILDING}
_INDENT: Final = "\u2003"


def name(ui: Ui, zh: str, en: str) -> str:
    """The name in the viewer's language, else the other one."""
    return (zh if ui.t.code == "zh" else en) or zh or en


def nodes(tx: Connection, ui: Ui, kinds: Collection[Kind]) -> list[tuple[str, str]]:
    """Path and name of every node within scope of some kinds, each below its parent and further in."""
    found = {node.path: node for node in tree.list_nodes(tx, ui.who) if node.kind in kinds}
    if ui.who.node == ROOT:
        found[ROOT] = tree.TOP
    ordered = sorted(found, key=lambda path: [int(part) for part in path.strip("/").split("/") if part])
    least = min((path.count("/") for path in ordered), default=0)
    return [
        (path, _INDENT * (path.count("/") - least) + name(ui, found[path].name_zh, found[path].name_en))
        for path in ordered
    ]
