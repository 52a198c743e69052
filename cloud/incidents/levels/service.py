"""What other folders may do with response levels: which is in force and what it demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.importing import IMPORTERS
from cloud.incidents.levels.declare import approve, declare, end, end_drill, outlook, reject, renew
from cloud.incidents.levels.imports import bring_in
from cloud.incidents.levels.levels import (
    effective,
    get_declaration,
    list_declarations,
    node_level,
    path_of,
    tree_levels,
)
from cloud.incidents.levels.policies import (
    APPROVERS,
    approver_of,
    get_policies,
    list_approvers,
    policy,
    put_approver,
    put_policies,
)
from cloud.incidents.levels.rules import BUILT_IN, LEVELS, MAX_MS, ROUTINE, STRICTEST, Policy

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "APPROVERS", "BUILT_IN", "LEVELS", "MAX_MS", "ROUTINE", "STRICTEST", "Policy", "approve", "approver_of", "declare",
    "demands", "effective", "end", "end_drill", "get_declaration", "get_policies", "list_approvers",
    "list_declarations", "node_level", "outlook", "path_of", "policy", "put_approver", "put_policies", "reject",
    "renew", "tree_levels",
]  # fmt: skip


def demands(tx: Connection, node: str, now_ms: int) -> Policy:
    """What the level that is in force at a node demands there."""
    return policy(tx, node, effective(tx, node, now_ms))


IMPORTERS["policies"] = bring_in
