"""Escalation chains: who is told of an alarm that nobody acknowledges, and what administrators do with them.

Owns the rows of `escalation_chains` and the importer's section `chains`. Which one an alarm has is `rules.chain_for`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa
from pydantic import ValidationError

from cloud import importing
from cloud.alerts.ops_models import ChainBody, ChainView, StepView
from cloud.alerts.rules import BUILT_IN, Chain, Step
from cloud.alerts.store import chains
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rows import row_of
from cloud.org.rules import Permission, Principal, ancestors, scope
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def chain(row: Row[Any]) -> Chain:
    """A row for the rules."""
    steps = tuple(
        Step(step["after_s"], tuple(step["roles"]), step.get("up", 0), step.get("roster", False))
        for step in msgspec.json.decode(row.steps)
    )
    kinds = frozenset[str](msgspec.json.decode(row.kinds))
    return Chain(row.id, row.node, row.name, kinds, Severity(row.min_severity), steps, row.repeat_s)


def above(tx: Connection, node: str) -> list[Chain]:
    """What somebody made for a node or one above; which of them an alarm has is `rules.chain_for`."""
    return [chain(row) for row in tx.execute(sa.select(chains).where(chains.c.node.in_(ancestors(node))))]


def _view(row: Row[Any]) -> ChainView:
    made = chain(row)
    return ChainView(
        id=made.id or 0, node=made.node, name=made.name, kinds=sorted(made.kinds), min_severity=made.min_severity,
        steps=[StepView(after_s=s.after_s, roles=list(s.roles), up=s.up, roster=s.roster) for s in made.steps],
        repeat_s=made.repeat_s, updated_at=at(row.updated_at),
    )  # fmt: skip


def built_in() -> list[Chain]:
    """What holds where nobody made a chain, by severity."""
    return list(BUILT_IN.values())


def list_chains(tx: Connection, who: Principal, *, limit: int = 100, cursor: str | None = None) -> Page[ChainView]:
    """The chains within scope. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(chains).where(scope(who, chains.c.node)).order_by(chains.c.id).limit(limit + 1)
    if cursor:
        wanted = wanted.where(chains.c.id > decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].id) if len(rows) > limit else None
    return Page(items=[_view(row) for row in shown], next_cursor=following)


def get_chain(tx: Connection, who: Principal, chain_id: int) -> ChainView:
    """One chain. Raises NotFound."""
    return _view(row_of(tx, chains, who, chain_id, "chain"))


def _may(actor: Principal) -> None:
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not {Permission.ADMINISTER} chains")


def _values(tx: Connection, actor: Principal, body: ChainBody, now_ms: int) -> dict[str, Any]:
    node = actor.node if body.node is None else tree.get_node(tx, actor, body.node).path
    steps = [
        {"after_s": step.after_s, "roles": [r.value for r in step.roles], "up": step.up, "roster": step.roster}
        for step in body.steps
    ]
    return {
        "node": node, "name": clean(body.name, 64), "kinds": msgspec.json.encode(sorted(set(body.kinds))).decode(),
        "min_severity": body.min_severity.value, "steps": msgspec.json.encode(steps).decode(),
        "repeat_s": body.repeat_s, "updated_at": now_ms,
    }  # fmt: skip


def _named(tx: Connection, values: dict[str, Any]) -> Row[Any] | None:
    return tx.execute(
        sa.select(chains).where(chains.c.node == values["node"], chains.c.name == values["name"])
    ).first()  # fmt: skip


def _changed(row: Row[Any], values: dict[str, Any]) -> bool:
    return any(getattr(row, name) != value for name, value in values.items() if name != "updated_at")


def add_chain(tx: Connection, actor: Principal, body: ChainBody, now_ms: int) -> ChainView:
    """Make a chain. Alarms that escalate now follow it from their next step. Raises Forbidden, NotFound, Conflict."""
    _may(actor)
    values = _values(tx, actor, body, now_ms)
    if _named(tx, values):
        raise Conflict(f"chain {values['name']}: exists already at {values['node']}")
    made = int(tx.execute(chains.insert().values(values).returning(chains.c.id)).scalar_one())
    audit.record(tx, actor, "chain.add", f"chain/{made}", at=now_ms, detail=values["name"])
    return get_chain(tx, actor, made)


def put_chain(tx: Connection, actor: Principal, chain_id: int, body: ChainBody, now_ms: int) -> ChainView:
    """Replace a chain. Raises Forbidden, NotFound, Conflict."""
    _may(actor)
    row = row_of(tx, chains, actor, chain_id, "chain", lock=True)
    values = _values(tx, actor, body, now_ms)
    other = _named(tx, values)
    if other is not None and other.id != chain_id:
        raise Conflict(f"chain {values['name']}: exists already at {values['node']}")
    if _changed(row, values):
        tx.execute(chains.update().where(chains.c.id == chain_id).values(values))
        audit.record(tx, actor, "chain.put", f"chain/{chain_id}", at=now_ms, detail=values["name"])
    return get_chain(tx, actor, chain_id)


def remove_chain(tx: Connection, actor: Principal, chain_id: int, now_ms: int) -> None:
    """Take a chain away; what it told of goes on with the next that fits. Raises Forbidden, NotFound."""
    _may(actor)
    row = row_of(tx, chains, actor, chain_id, "chain", lock=True)
    tx.execute(chains.delete().where(chains.c.id == chain_id))
    audit.record(tx, actor, "chain.remove", f"chain/{chain_id}", at=now_ms, detail=row.name)


def bring_in(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """The importer's section `chains`: made, or brought up to date by node and name.

    node: a code. Raises Invalid naming the entry and the key.
    """
    for number, table in enumerate(tables, 1):
        where = f"chains[{number}]"
        try:
            code = table.get("node")
            node = tree.find_code(tx, actor, str(code)).path if code else None
            body = ChainBody.model_validate({**table, "node": node})
        except NotFound as e:
            raise Invalid(f"{where}.node: {e}") from e
        except ValidationError as e:
            first = e.errors()[0]
            raise Invalid(f"{where}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
        known = _named(tx, _values(tx, actor, body, now_ms))
        if known is None:
            add_chain(tx, actor, body, now_ms)
        else:
            put_chain(tx, actor, known.id, body, now_ms)
    return len(tables)


importing.IMPORTERS["chains"] = bring_in
