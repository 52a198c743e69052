"""From rows to what the API says of alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud import catalogue, stream
from cloud.alerts.models import (
    AlarmDetail,
    AlarmState,
    AlarmView,
    ClearReason,
    EvidenceView,
    HistoryEntry,
)
from cloud.alerts.rules import PROTECTED, Why
from cloud.alerts.store import alarms, history
from cloud.paging import at, at_or_none
from firmware_specs.readings import Clock, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection, Row

HISTORY_SHOWN: Final = 1000
OWN_TITLES: Final = {
    "gateway-offline": ("网关离线", "Gateway offline"),
    "device-silent": ("设备失联", "Device silent"),
    "post-unmanned": ("岗位无人", "Post unmanned"),
    "patrol-overdue": ("巡逻超时", "Patrol overdue"),
    "self-timer-late": ("平台定时任务滞后", "Deadlines fire late"),
    "self-ingest-lag": ("平台数据接收滞后", "Ingest lags"),
    "self-notify-failing": ("通知发送失败", "Notifications fail"),
    "self-series-away": ("时序库失联", "Series store away"),
    "release-renewal-failed": ("更新库元数据无法续签", "The update repository cannot be renewed"),
    "release-expiring": ("更新库签名即将到期", "Signatures of the update repository expire soon"),
}


def state_of(row: Row[Any]) -> AlarmState:
    """Where a row stands."""
    if row.cleared_at is not None:
        return AlarmState.CLEARED
    return AlarmState.OPEN if row.acknowledged_at is None else AlarmState.ACKNOWLEDGED


def title(kind: str, rule: str) -> tuple[str, str]:
    """What an alarm is called in Chinese and English: by its rule's profile, else by its kind."""
    name, _, rule_name = rule.partition("/")
    profile = catalogue.profile(name)
    for known in profile.alarms if profile else ():
        if known.name == rule_name:
            return known.title.zh, known.title.en
    return OWN_TITLES.get(kind, (kind, kind))


def view_fields(row: Row[Any], folded: int, grouped: int) -> dict[str, Any]:
    """The fields of an AlarmView."""
    zh, en = title(row.kind, row.rule)
    return {
        "id": row.id, "gateway": row.gateway, "device": row.device or None, "location": row.location, "kind": row.kind,
        "title_zh": zh, "title_en": en, "severity": Severity(row.severity), "state": state_of(row),
        "raised_at": at(row.raised_at), "received_at": at(row.received_at), "late": row.late, "drill": row.drill,
        "clock": Clock(row.clock), "occurrence": row.occurrence, "rule": row.rule, "rule_version": row.rule_version,
        "evidence": [
            EvidenceView(metric=metric, value=value, observed_at=at(ms))
            for metric, value, ms in msgspec.json.decode(row.evidence)
        ],
        "acknowledged_at": at_or_none(row.acknowledged_at), "acknowledged_by": row.acknowledged_by,
        "cleared_at": at_or_none(row.cleared_at), "cleared_by": row.cleared_by,
        "clear_reason": ClearReason(row.clear_reason) if row.clear_reason else None,
        "assigned_to": row.assigned_to, "shelved_until": at_or_none(row.shelved_until),
        "shelve_reason": row.shelve_reason, "folded_into": row.folded_into, "folded": folded, "node": row.node,
        "quiet": Why(row.quiet), "protected": row.kind in PROTECTED, "silence": row.silence,
        "maintenance": row.maintenance, "inhibited_by": row.inhibited_by, "group_key": row.group_key,
        "grouped": grouped,
        "flapping": row.flapping, "flap": row.flap, "escalation": row.escalation, "drill_id": row.drill_id,
    }  # fmt: skip


def views_of(tx: Connection, rows: Iterable[Row[Any]]) -> list[AlarmView]:
    """Views of rows, in their order."""
    rows = list(rows)
    counts, groups = folded_counts(tx, [row.id for row in rows]), _group_counts(tx, rows)
    return [AlarmView(**view_fields(row, counts.get(row.id, 0), groups.get(row.group_key, 0))) for row in rows]


def _group_counts(tx: Connection, rows: Iterable[Row[Any]]) -> dict[str | None, int]:
    """How many alarms of each group are not cleared."""
    keys = {row.group_key for row in rows} - {None}
    if not keys:
        return {}
    counted = sa.select(alarms.c.group_key, sa.func.count()).where(
        alarms.c.group_key.in_(keys), alarms.c.cleared_at.is_(None)
    )
    return {key: int(count) for key, count in tx.execute(counted.group_by(alarms.c.group_key))}


def folded_counts(tx: Connection, ids: Collection[int]) -> dict[int, int]:
    """How many alarms each of these stands for."""
    if not ids:
        return {}
    counted = sa.select(alarms.c.folded_into, sa.func.count()).where(alarms.c.folded_into.in_(ids))
    return {int(alarm): int(count) for alarm, count in tx.execute(counted.group_by(alarms.c.folded_into))}


def detail_of(tx: Connection, row: Row[Any]) -> AlarmDetail:
    """A row with what happened to it.

    What the gateway did is read from the row itself, so it is the same whatever order the events came in; what people
    did is in the history table, of which the last thousand entries are told: an alarm that nobody acknowledges is told
    again and again.
    """
    entries = [HistoryEntry(at=at(row.raised_at), actor="gateway", action="raised", detail=row.rule)]
    done = sa.select(history).where(history.c.alarm == row.id).order_by(history.c.at.desc(), history.c.id.desc())
    entries += [
        HistoryEntry(at=at(h.at), actor=h.actor, action=h.action, detail=h.detail)
        for h in tx.execute(done.limit(HISTORY_SHOWN)).all()[::-1]
    ]
    if row.clear_reason in {ClearReason.CONDITION, ClearReason.SUPERSEDED}:
        action = "cleared" if row.clear_reason == ClearReason.CONDITION else "superseded"
        entries.append(HistoryEntry(at=at(row.cleared_at), actor="gateway", action=action, detail=""))
    entries.sort(key=lambda entry: entry.at)
    folded, grouped = folded_counts(tx, [row.id]).get(row.id, 0), _group_counts(tx, [row]).get(row.group_key, 0)
    return AlarmDetail(**view_fields(row, folded, grouped), history=entries)


def announce(tx: Connection, ids: Collection[int], now_ms: int) -> None:
    """Tell the event stream how these alarms stand now."""
    if not ids:
        return
    rows = tx.execute(sa.select(alarms).where(alarms.c.id.in_(ids)).order_by(alarms.c.id)).all()
    for row, view in zip(rows, views_of(tx, rows), strict=True):
        stream.append(tx, "alarm", view, at=now_ms, node=row.node, gateway=row.gateway, device=row.device)
