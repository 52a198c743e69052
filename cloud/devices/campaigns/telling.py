"""What is told of a campaign: its history, the event stream, the audit chain, notifications, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud import metrics, stream
from cloud.alerts.notify import service as notify
from cloud.devices.campaigns import members, views
from cloud.devices.campaigns.models import CampaignEvent
from cloud.devices.campaigns.rules import State, Tally
from cloud.devices.campaigns.store import history
from cloud.org import audit, tree, zones
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

DETAIL: Final = 2000
HEARERS: Final = (Role.ADMINISTRATOR,)
SEVERITY: Final = {"paused": Severity.MAJOR, "asks": Severity.WARNING, "ended": Severity.WARNING}
_STATES: Final = {
    State.ENDED: ("已完成", "done"),
    State.ABORTED: ("已中止", "aborted"),
    State.ROLLED_BACK: ("已回退", "rolled back"),
    State.PAUSED: ("已暂停", "paused"),
    State.RUNNING: ("进行中", "running"),
}


def happened(
    tx: Connection, row: Row[Any], who: Principal, what: str, now_ms: int, *, wave: int = 0, detail: str = ""
) -> None:
    """Write it into the campaign's history and the audit chain."""
    told = clean(detail, DETAIL)
    values = {"campaign": row.id, "at": now_ms, "who": who.label, "what": what, "wave": wave, "detail": told}
    tx.execute(history.insert().values(**values))
    wave_told = f"wave {wave}" if wave else ""
    detail = ", ".join(part for part in (wave_told, told) if part)
    audit.record(tx, who, f"campaign.{what}", f"campaign/{row.id}", at=now_ms, detail=detail)
    if who.kind == SYSTEM.kind:
        metrics.CAMPAIGN_STEPS.labels(row.kind, what).inc()


def moved(tx: Connection, row: Row[Any], now_ms: int) -> None:
    """Have pages look again. row: as it is now."""
    view = CampaignEvent(id=row.id, state=State(row.state), wave=row.wave, tally=views.tally_view(_tally(tx, row.id)))
    stream.append(tx, "campaign", view, at=now_ms, node=row.node)


def notified(tx: Connection, row: Row[Any], what: str, now_ms: int) -> None:
    """Tell the administrators at and above its node. what: `paused`, `asks`, `ended`."""
    tally = _tally(tx, row.id)
    where_zh, where_en = tree.names(tx, [row.node]).get(row.node, ("", ""))
    state_zh, state_en = _STATES.get(State(row.state), ("", ""))
    values = {
        "id": str(row.id), "what": row.title or row.kind, "where_zh": where_zh, "where_en": where_en,
        "state_zh": state_zh, "state_en": state_en, "at": zones.moment(tx, row.node, now_ms),
        "committed": str(tally.committed), "failed": str(tally.failed + tally.forgiven), "back": str(tally.back),
        "total": str(tally.total), "wave": str(row.awaits or row.wave), "reason": row.detail,
    }  # fmt: skip
    message = notify.Message(
        node=row.node, subject="campaign", subject_id=row.id, template=f"campaign.{what}", values=values,
        severity=SEVERITY[what], roles=HEARERS, urgent=False, drill=False, key=f"campaign/{row.id}/{what}/{now_ms}",
    )  # fmt: skip
    notify.enqueue(tx, message, now_ms)


def _tally(tx: Connection, campaign: int) -> Tally:
    found = Tally()
    for each in members.tallies(tx, [campaign]).get(campaign, {}).values():
        found = found.plus(each)
    return found
