"""Campaigns as they are shown: lists, one as a whole, its members."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.devices.campaigns import hooks, members, rules
from cloud.devices.campaigns.models import (
    CampaignDetail,
    CampaignView,
    Choice,
    HistoryView,
    MemberQuery,
    MemberView,
    PolicyBody,
    ReasonView,
    TallyView,
    WaveView,
)
from cloud.devices.campaigns.rules import Act, Standing, State, Tally
from cloud.devices.campaigns.store import campaigns, history, waves
from cloud.devices.campaigns.store import members as members_table
from cloud.errors import NotFound
from cloud.org import zones
from cloud.org.rules import Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Row

HISTORY: Final = 200
REASONS: Final = 20


def tally_view(tally: Tally) -> TallyView:
    """How many members stand where; failed ones with those that were forgiven."""
    shown = {name: getattr(tally, name) for name in TallyView.model_fields}
    return TallyView(**shown | {"failed": tally.failed + tally.forgiven})


def find(tx: Connection, principal: Principal, campaign: int) -> Row[Any]:
    """A campaign's row. Raises NotFound when absent or out of scope."""
    row = tx.execute(sa.select(campaigns).where(campaigns.c.id == campaign, scope(principal, campaigns.c.node))).first()
    if row is None:
        raise NotFound(f"campaign {campaign}: not found")
    return row


def list_campaigns(
    tx: Connection, principal: Principal, *, states: Collection[State] = (), kind: str = "", limit: int = 100,
    cursor: str | None = None,
) -> Page[CampaignView]:  # fmt: skip
    """Campaigns within scope, newest first."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(campaigns).where(scope(principal, campaigns.c.node))
    if states:
        wanted = wanted.where(campaigns.c.state.in_([each.value for each in states]))
    if kind:
        wanted = wanted.where(campaigns.c.kind == kind)
    if cursor:
        wanted = wanted.where(campaigns.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(campaigns.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    counted = members.tallies(tx, [row.id for row in shown])
    items = [CampaignView(**_fields(row, counted.get(row.id, {}))) for row in shown]
    return Page(items=items, next_cursor=encode_cursor(shown[-1].id) if len(rows) > limit else None)


def _fields(row: Row[Any], by_wave: Mapping[int, Tally]) -> dict[str, Any]:
    whole = Tally()
    for each in by_wave.values():
        whole = whole.plus(each)
    return {
        "id": row.id, "node": row.node, "kind": row.kind, "title": row.title, "state": State(row.state),
        "reason": row.reason, "detail": row.detail, "author": row.author, "created_at": at(row.created_at),
        "approved_by": row.approved_by, "approved_at": at_or_none(row.approved_at),
        "started_at": at_or_none(row.started_at), "ended_at": at_or_none(row.ended_at), "wave": row.wave,
        "waves": len(by_wave), "awaits_wave": row.awaits, "tally": tally_view(whole), "acts": _acts(row, whole),
    }  # fmt: skip


def _acts(row: Row[Any], whole: Tally) -> list[Act]:
    """What the rules allow and there is something to do for."""
    kind = hooks.KINDS.get(row.kind)
    idle = set()
    if State(row.state) is not State.DRAFT and row.awaits is None:
        idle.add(Act.APPROVE)
    again = whole.stuck if State(row.state) is State.ROLLED_BACK else whole.failed + whole.forgiven + whole.missed
    if not again:
        idle.add(Act.RETRY)
    if kind is None or kind.back is None or not whole.ever:
        idle.add(Act.ROLL_BACK)
    return [act for act in rules.acts(State(row.state)) if act not in idle]


def get_campaign(tx: Connection, principal: Principal, campaign: int) -> CampaignDetail:
    """One campaign. Raises NotFound."""
    row = find(tx, principal, campaign)
    by_wave = members.tallies(tx, [campaign]).get(campaign, {})
    steps = tx.execute(sa.select(waves).where(waves.c.campaign == campaign).order_by(waves.c.wave)).all()
    return CampaignDetail(
        **_fields(row, by_wave) | {"waves": len(steps)},
        subject=json.loads(row.subject), choice=Choice.model_validate_json(row.choice),
        policy=PolicyBody.model_validate_json(row.policy), zone=zones.zone_of(tx, row.node).key,
        steps=[
            WaveView(
                wave=each.wave, opened_at=at_or_none(each.opened_at), gate_at=at_or_none(each.gate_at),
                passed_at=at_or_none(each.passed_at), tally=tally_view(by_wave.get(each.wave, Tally())),
            )
            for each in steps
        ],
        reasons=_reasons(tx, campaign), history=_history(tx, campaign),
    )  # fmt: skip


def _reasons(tx: Connection, campaign: int) -> list[ReasonView]:
    c = members_table.c
    bad = c.state.in_([Standing.FAILED.value, Standing.STUCK.value, Standing.RETRYING.value])
    counted = sa.select(c.reason, sa.func.count().label("n")).where(c.campaign == campaign, bad).group_by(c.reason)
    rows = tx.execute(counted.order_by(sa.desc("n"), c.reason).limit(REASONS))
    return [ReasonView(reason=row.reason, count=int(row.n)) for row in rows]


def _history(tx: Connection, campaign: int) -> list[HistoryView]:
    wanted = sa.select(history).where(history.c.campaign == campaign).order_by(history.c.id.desc()).limit(HISTORY)
    return [
        HistoryView(at=at(row.at), who=row.who, what=row.what, wave=row.wave, detail=row.detail)
        for row in tx.execute(wanted)
    ]


def list_members(tx: Connection, principal: Principal, campaign: int, query: MemberQuery) -> Page[MemberView]:
    """Members of a campaign, in the order in which they are taken. Raises NotFound."""
    find(tx, principal, campaign)
    c = members_table.c
    wanted = sa.select(members_table).where(c.campaign == campaign)
    if query.state:
        wanted = wanted.where(c.state.in_([each.value for each in query.state]))
    if query.wave is not None:
        wanted = wanted.where(c.wave == query.wave)
    if query.reason is not None:
        wanted = wanted.where(c.reason == clean(query.reason, members.REASON))
    if query.search:
        part = clean(query.search, 64)
        wanted = wanted.where(
            sa.or_(c.gateway.icontains(part, autoescape=True), c.device.icontains(part, autoescape=True))
        )
    if query.cursor:
        wanted = wanted.where(c.place > decode_cursor(query.cursor, int)[0])
    rows = tx.execute(wanted.order_by(c.place).limit(query.limit + 1)).all()
    shown = rows[: query.limit]
    following = encode_cursor(shown[-1].place) if len(rows) > query.limit else None
    return Page(items=[_member(row) for row in shown], next_cursor=following)


def _member(row: Row[Any]) -> MemberView:
    return MemberView(
        gateway=row.gateway, device=row.device, wave=row.wave, state=Standing(row.state), phase=row.phase,
        reason=row.reason, attempt=row.attempt, started_at=at_or_none(row.started_at),
        ended_at=at_or_none(row.ended_at), deadline_at=at_or_none(row.deadline_at), unhealthy=row.unhealthy,
    )  # fmt: skip
