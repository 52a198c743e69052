"""What other folders may do with campaigns: create and move them, and tell what came of an order.

A kind is entered in `hooks.KINDS`; what it orders is told here, by any process, as often as it is heard.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import metrics, timers
from cloud.devices import liveness
from cloud.devices.campaigns import engine, members, rules
from cloud.devices.campaigns.acts import ACTS, abort, approve, create, pause, resume, retry, roll_back, start
from cloud.devices.campaigns.choosing import choose, fitting, preview
from cloud.devices.campaigns.hooks import KINDS, Kind
from cloud.devices.campaigns.members import Key
from cloud.devices.campaigns.models import Choice, NewCampaign, PolicyBody
from cloud.devices.campaigns.rules import Event
from cloud.devices.campaigns.store import campaigns
from cloud.devices.campaigns.store import members as members_table
from cloud.devices.campaigns.views import get_campaign, list_campaigns, list_members
from cloud.ingest import hooks as ingest
from cloud.org import tree
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from firmware_specs.wire import Status

__all__ = [
    "ACTS", "KINDS", "Choice", "Kind", "NewCampaign", "PolicyBody", "abort", "approve", "choose", "create", "fitting",
    "get_campaign", "list_campaigns", "list_members", "outcome", "pause", "preview", "progress", "resume", "retry",
    "roll_back", "start", "subject_of",
]  # fmt: skip

TOLD: Final = "campaign-told"
"""Timer that hands something new over to the engine; one for each campaign and gateway, so nobody waits for another."""
HEAR_MS: Final = 5_000
"""What a gateway has at least when the cloud was away: its last report comes with the connection to the broker."""


def outcome(  # noqa: PLR0917 - what, of whom, and when
    tx: Connection, campaign_id: int, gateway: str, device: str, ok: bool, reason: str, now_ms: int,
    *, back: bool = False, told_ms: int = 0,
) -> bool:  # fmt: skip
    """Take what came of an order; whether it changed anything. A repeat, or one that comes late, changes nothing.

    device: empty for the gateway itself. reason: why it failed, or a remark on a success. back: it is of the way back.
    told_ms: the gateway's time of it when that is known; a failure from before the latest attempt is of an earlier one.
    """
    key = Key(campaign_id, gateway, device)
    row = members.get(tx, key)
    if row is None:
        return False
    event = rules.event_of(ok=ok, back=back)
    stale = event is Event.FAIL and row.attempt > 1 and 0 < told_ms < (row.started_at or 0)
    if stale or rules.moved(rules.Standing(row.state), event).value == row.state:
        return False
    if ok:
        told = clean(reason, members.REASON)
        members.move(
            tx, key, event, reason=told, phase="", ended_at=now_ms, deadline_at=None, forgiven=False, checked=False,
            unhealthy=False,
        )  # fmt: skip
    else:
        members.fail(tx, key, event, reason or "failed", now_ms)
    metrics.CAMPAIGN_OUTCOMES.labels(_kind(tx, campaign_id), event.value).inc()
    timers.set_timer(tx, TOLD, f"{campaign_id}:{gateway}", now_ms)
    return True


def subject_of(tx: Connection, campaign_id: int) -> dict[str, Any]:
    """What a campaign changes; empty when there is none such."""
    text = tx.execute(sa.select(campaigns.c.subject).where(campaigns.c.id == campaign_id)).scalar()
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _kind(tx: Connection, campaign_id: int) -> str:
    return str(tx.execute(sa.select(campaigns.c.kind).where(campaigns.c.id == campaign_id)).scalar())


def progress(tx: Connection, campaign_id: int, gateway: str, device: str, phase: str, now_ms: int) -> None:  # noqa: PLR0917
    """Note how far a member is: `downloading`, `trial`. It has no more time for it."""
    del now_ms
    c = members_table.c
    mine = (c.campaign == campaign_id, c.gateway == gateway, c.device == device)
    flying = c.state.in_([each.value for each in rules.IN_FLIGHT])
    told = clean(phase, members.PHASE)
    tx.execute(members_table.update().where(*mine, flying, c.phase != told).values(phase=told))


def _told(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    engine.nudge(tx, int(timer.key.partition(":")[0]), now_ms, news=True)


def _came(tx: Connection, gateway: str, _status: Status, now_ms: int) -> None:
    """A gateway is there: whoever waits for it may start it."""
    for campaign in members.expecting(tx, gateway):
        timers.set_timer(tx, TOLD, f"{campaign}:{gateway}", now_ms)


def _away(tx: Connection, away_ms: int, now_ms: int) -> None:
    """The cloud was away and heard no outcomes: whoever is under way gets that time back, and some to be heard."""
    c = members_table.c
    given = c.deadline_at + away_ms
    soonest = now_ms + HEAR_MS
    longer = sa.case((given < soonest, sa.literal(soonest, sa.BigInteger)), else_=given)
    flying = c.state.in_([each.value for each in rules.IN_FLIGHT])
    tx.execute(members_table.update().where(flying, c.deadline_at.is_not(None)).values(deadline_at=longer))


liveness.AWAY.append(_away)
timers.HANDLERS[TOLD] = _told
ingest.STATUS.append(_came)
tree.OCCUPANTS["campaigns"] = tree.counting(campaigns, campaigns.c.state.in_([each.value for each in rules.UNFINISHED]))
