"""What other folders may do with fleet health: how gateways are, by node and one by one, and the loss ledger."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.devices import service as devices
from cloud.devices.health import history
from cloud.devices.health.judging import facts_of, row_of
from cloud.devices.health.models import (
    GatewayHealth,
    GatewayHealthRow,
    GatewayLedger,
    LaneAccountView,
    LedgerDayView,
    LossView,
    MeasureView,
    NodeHealth,
    StartView,
    WrittenView,
)
from cloud.devices.health.rules import DAY_MS, WORST, Finding, State, Verdict, gate, judge, overall
from cloud.devices.health.store import vitals
from cloud.devices.places import gateway_nodes
from cloud.ingest import service as ingest
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, ancestors, visible
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy import Connection

__all__ = ["State", "Verdict", "by_node", "counts", "healthy", "ledger", "list_health", "of_gateway"]


def of_gateway(tx: Connection, principal: Principal, gateway: str, now_ms: int) -> GatewayHealth:
    """One gateway with every measure, judged now. Raises NotFound."""
    view = devices.get_gateway(tx, principal, gateway)
    facts = facts_of(tx, view, now_ms)
    findings = judge(facts, now_ms)
    row = row_of(tx, gateway)
    return GatewayHealth(
        gateway=view.id, node=view.node, location=view.location, state=overall(findings),
        agent_version=view.agent_version, told_at=at_or_none(row.told_at) if row is not None else None,
        measures=[_measure(each) for each in findings],
        starts=[
            StartView(at=at(each.at), reason=each.reason, detail=each.detail)
            for each in history.latest_starts(tx, gateway)
        ],
        written=[
            WrittenView(day=_day(each.day * DAY_MS), written=each.written, budget=each.budget)
            for each in history.written(tx, gateway)
        ],
    )  # fmt: skip


def _measure(finding: Finding) -> MeasureView:
    return MeasureView(**finding._asdict() | {"at": at_or_none(finding.at_ms)})


def _day(begins_ms: int) -> date:
    return datetime.fromtimestamp(begins_ms / 1000, UTC).date()


def healthy(tx: Connection, gateway: str, now_ms: int) -> Verdict:
    """Whether a change may go on with a gateway. Raises NotFound."""
    return gate(judge(facts_of(tx, devices.get_gateway(tx, SYSTEM, gateway), now_ms), now_ms))


class _Judged(NamedTuple):
    """A gateway as it was last judged. reasons: JSON."""

    gateway: str
    node: str
    state: State = State.UNKNOWN
    reasons: str = "[]"
    judged_at: int | None = None

    @property
    def rank(self) -> tuple[int, str]:
        """The worst first."""
        return WORST.index(self.state), self.gateway


def _judged(tx: Connection, principal: Principal, below: str) -> list[_Judged]:
    """Every gateway within scope at or below a node."""
    c = vitals.c
    known = {row[0]: row[1:] for row in tx.execute(sa.select(c.gateway, c.state, c.reasons, c.judged_at))}
    found = []
    for gateway, node in gateway_nodes(tx).items():
        if visible(principal, node) and node.startswith(below):
            state, *rest = known.get(gateway, (State.UNKNOWN,))
            found.append(_Judged(gateway, node, State(state), *rest))
    return found


def list_health(
    tx: Connection, principal: Principal, *, below: str = ROOT, state: State | None = None, limit: int = 100,
    cursor: str | None = None,
) -> Page[GatewayHealthRow]:  # fmt: skip
    """Gateways as they were last judged, the worst first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    rows = [row for row in _judged(tx, principal, below) if state is None or row.state is state]
    if cursor:
        after = decode_cursor(cursor, int, str)
        rows = [row for row in rows if row.rank > after]
    rows.sort(key=lambda row: row.rank)
    shown = [
        GatewayHealthRow(
            gateway=row.gateway, node=row.node, state=row.state, reasons=json.loads(row.reasons),
            judged_at=at_or_none(row.judged_at),
        )
        for row in rows[:limit]
    ]  # fmt: skip
    following = encode_cursor(*rows[limit - 1].rank) if len(rows) > limit else None
    return Page(items=shown, next_cursor=following)


def by_node(tx: Connection, principal: Principal, node: str) -> list[NodeHealth]:
    """A node and those directly below it that have gateways, each with all that lies beneath. Raises NotFound."""
    tree.get_node(tx, principal, node)
    counted: dict[str, Counter[State]] = {}
    depth = len(ancestors(node))
    for row in _judged(tx, principal, node):
        counted.setdefault(node, Counter())[row.state] += 1
        path = ancestors(row.node)
        if len(path) > depth:
            counted.setdefault(path[depth], Counter())[row.state] += 1
    counted.setdefault(node, Counter())
    names = tree.names(tx, counted)
    found = []
    for place, states in counted.items():
        zh, en = names.get(place, ("", ""))
        by_state = {state: states.get(state, 0) for state in State}
        found.append(
            NodeHealth(node=place, name_zh=zh, name_en=en, gateways=states.total(), states=by_state)
        )  # fmt: skip
    return sorted(
        found, key=lambda each: (each.node != node, -each.states[State.BAD], -each.states[State.WATCH], each.node)
    )


def counts(tx: Connection, principal: Principal) -> dict[State, int]:
    """How many gateways there are of each state."""
    counted = Counter(row.state for row in _judged(tx, principal, principal.node))
    return {state: counted.get(state, 0) for state in State}


def ledger(tx: Connection, principal: Principal, gateway: str, days: int) -> GatewayLedger:
    """What became of every reading that a gateway ever numbered. Raises NotFound."""
    devices.get_gateway(tx, principal, gateway)
    account = ingest.account(tx, gateway)
    whole = account.ledger
    return GatewayLedger(
        gateway=gateway, received=whole.received, thinned=whole.thinned, off_shift=whole.off_shift, lost=whole.lost,
        reconciled=account.unexplained == 0, unexplained=account.unexplained,
        days=[
            LedgerDayView(day=_day(each.begins_ms), **each.tally._asdict())
            for each in ingest.ledger_days(tx, gateway, days)
        ],
        lanes=[
            LaneAccountView(
                epoch=lane.epoch, lane=lane.lane, through=lane.through, base=lane.base, arrived=lane.arrived,
                lost=lane.lost, coming=lane.coming, current=lane.current, updated_at=at(lane.updated_at),
            )
            for lane in account.lanes
        ],
        losses=[
            LossView(
                epoch=loss.epoch, lane=loss.lane, first=loss.first, last=loss.last, numbers=loss.numbers,
                cause=loss.cause, at=at(loss.at_ms), from_=at(loss.from_ms) if loss.from_ms else None,
                to=at(loss.to_ms) if loss.to_ms else None, detail=loss.detail,
            )
            for loss in account.losses
        ],
    )  # fmt: skip
