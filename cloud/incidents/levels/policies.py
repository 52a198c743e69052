"""What a level demands where, and who approves one.

Owns the policy rows and the approvers' rows. A node's policy is always stored as a whole table, so that the nearest
table upwards is sound by itself, whatever is set above it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.errors import Forbidden, Invalid
from cloud.incidents.levels import hooks, rules
from cloud.incidents.levels.models import ApproverView, PolicyTable, PolicyView
from cloud.incidents.levels.rules import BUILT_IN, LEVELS, Policy
from cloud.incidents.levels.store import approvers, policies
from cloud.org import audit, tree
from cloud.org.rules import PERMISSIONS, Permission, Principal, Role, ancestors, scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

DEFAULT_APPROVER = Role.SUPERVISOR
APPROVERS = tuple(role for role in Role if Permission.DECLARE in PERMISSIONS[role])
"""The roles that may be made approvers: those that know what declaring a level means."""


def table_of(tx: Connection, node: str) -> dict[int, tuple[Policy, str | None]]:
    """By level, what it demands at a node and the node that it was set for, None for the built-in."""
    wanted = sa.select(policies).where(policies.c.node.in_(ancestors(node)))
    table: dict[int, tuple[Policy, str | None]] = {level: (BUILT_IN[level], None) for level in LEVELS}
    for row in tx.execute(wanted.order_by(sa.func.length(policies.c.node))):
        demands = Policy(row.headcount_percent, row.revisit_percent, row.reporting_s, row.escalation_percent)
        table[row.level] = (demands, row.node)
    return table


def policy(tx: Connection, node: str, level: int) -> Policy:
    """What a level demands at a node: by the nearest table upwards, else the built-in one."""
    return table_of(tx, node)[level][0]


def get_policies(tx: Connection, principal: Principal, node: str) -> PolicyTable:
    """What each level demands at a node. Raises NotFound."""
    path = tree.get_node(tx, principal, node).path
    rows = [
        PolicyView(level=level, **demands._asdict(), source=source)
        for level, (demands, source) in table_of(tx, path).items()
    ]
    return PolicyTable(node=path, items=rows)


def put_policies(tx: Connection, actor: Principal, node: str, rows: Mapping[int, Policy], now_ms: int) -> bool:
    """Set a node's policy; levels that are left out stay as they are; none at all: inherit everything.

    Gives whether anything changed. Raises NotFound, Forbidden, and Invalid naming the column in which a stricter level
    would be laxer.
    """
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not set policies")
    path = tree.get_node(tx, actor, node).path
    before = table_of(tx, path)
    table = {level: rows.get(level, before[level][0]) for level in LEVELS}
    wrong = rules.laxer_column(table)
    if wrong:
        column, level = wrong
        told = f"is {100} at level 4" if level == rules.ROUTINE else f"level {level} is laxer than level {level + 1}"
        raise Invalid(f"{column}: {told}")
    own = all(source == path for _, source in before.values())
    if own == bool(rows) and table == {level: demands for level, (demands, _) in before.items()}:
        return False
    tx.execute(policies.delete().where(policies.c.node == path))
    if rows:
        made = {"node": path, "updated_at": now_ms, "updated_by": actor.label}
        tx.execute(policies.insert(), [{**made, "level": n, **demands._asdict()} for n, demands in table.items()])
    audit.record(tx, actor, "level.policy", f"node{path}", at=now_ms, detail="set" if rows else "inherited")
    hooks.tell(tx, path, now_ms)
    return True


def approver_of(tx: Connection, node: str) -> Role:
    """Which role approves levels at a node: by the nearest row upwards, else supervisors."""
    wanted = sa.select(approvers.c.role).where(approvers.c.node.in_(ancestors(node)))
    role = tx.execute(wanted.order_by(sa.func.length(approvers.c.node).desc()).limit(1)).scalar()
    return Role(role) if role else DEFAULT_APPROVER


def list_approvers(tx: Connection, principal: Principal) -> list[ApproverView]:
    """The approvers that were set within scope, from the top."""
    wanted = sa.select(approvers).where(scope(principal, approvers.c.node))
    rows = tx.execute(wanted.order_by(sa.func.length(approvers.c.node), approvers.c.node))
    return [ApproverView(node=row.node, role=Role(row.role)) for row in rows]


def put_approver(tx: Connection, actor: Principal, node: str, role: Role | None, now_ms: int) -> bool:
    """Set which role approves at a node and below; None to inherit it. Gives whether anything changed.

    Raises NotFound, Forbidden, and Invalid for a role that may not declare levels itself.
    """
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not set who approves levels")
    path = tree.get_node(tx, actor, node).path
    if role is not None and role not in APPROVERS:
        raise Invalid(f"role: {role} cannot approve levels; one of {', '.join(APPROVERS)} can")
    before = tx.execute(sa.select(approvers.c.role).where(approvers.c.node == path)).scalar()
    if before == role:
        return False
    tx.execute(approvers.delete().where(approvers.c.node == path))
    if role is not None:
        tx.execute(approvers.insert().values(node=path, role=role.value))
    audit.record(tx, actor, "level.approver", f"node{path}", at=now_ms, detail=role.value if role else "inherited")
    return True
