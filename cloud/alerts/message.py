"""What people are told of an alarm: one message for one step of its chain.

Owns the values of the templates `alarm.raised` and `alarm.escalated`. Times are in the zone of the alarm's node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloud import catalogue
from cloud.alerts import beyond, rules, views
from cloud.alerts.notify.service import Message
from cloud.alerts.store import alarms
from cloud.org import tree
from cloud.org.rules import ROOT, Role
from cloud.org.zones import moment
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.alerts.rules import Step


def compose(tx: Connection, row: Row[Any], step: Step, node: str, *, number: int, key: str, now_ms: int) -> Message:
    """The message of a step, the first being number 0, to the people of a node. The same key is told once."""
    severity = Severity(row.severity)
    protected = row.kind in rules.PROTECTED
    return Message(
        node=node, subject="alarm", subject_id=row.id, template="alarm.escalated" if number else "alarm.raised",
        values=_values(tx, row, number, now_ms), severity=severity, roles=tuple(Role(role) for role in step.roles),
        urgent=protected or (severity is Severity.CRITICAL and not row.flapping), drill=row.drill, key=key,
        digest=row.flapping and not protected, users=beyond.on_duty(tx, node, now_ms) if step.roster else (),
    )  # fmt: skip


def _values(tx: Connection, row: Row[Any], number: int, now_ms: int) -> dict[str, str]:
    title_zh, title_en = views.title(row.kind, row.rule)
    zh, en = tree.names(tx, [row.node] if row.node != ROOT else []).get(row.node, ("", ""))
    device = "/".join(part for part in (row.gateway, row.device) if part)
    evidence_zh, evidence_en = _evidence(row)
    detail_zh, detail_en = _detail(tx, row)
    minutes = max(0, now_ms - row.received_at) // 60_000
    return {
        "id": str(row.id), "what_zh": title_zh, "what_en": title_en, "severity": row.severity,
        "where_zh": " · ".join(part for part in (zh, row.location) if part) or device,
        "where_en": " · ".join(part for part in (en, row.location) if part) or device,
        "device": device, "at": moment(tx, row.node, row.raised_at),
        "since_zh": f"{minutes} 分钟" if number else "", "since_en": f"{minutes} min" if number else "",
        "step": str(number + 1), "evidence_zh": evidence_zh,
        "evidence_en": evidence_en, "detail_zh": detail_zh, "detail_en": detail_en,
    }  # fmt: skip


def _evidence(row: Row[Any]) -> tuple[str, str]:
    """The readings that made the rule decide, with their names in both languages."""
    profile = catalogue.profile(row.rule.partition("/")[0])
    zh, en = [], []
    for metric, value, _ in msgspec.json.decode(row.evidence):
        spec = profile.metrics.get(metric) if profile else None
        shown = f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else value
        zh.append(f"{spec.title.zh if spec else metric} {shown}")
        en.append(f"{spec.title.en if spec else metric} {shown}")
    return "，".join(zh), ", ".join(en)


def _detail(tx: Connection, row: Row[Any]) -> tuple[str, str]:
    """What else one has to know: how many it stands for, that somebody works there, that it comes and goes."""
    zh, en = [], []
    if row.group_key is not None:
        mine = (alarms.c.group_key == row.group_key, alarms.c.cleared_at.is_(None))
        together = int(tx.execute(sa.select(sa.func.count()).select_from(alarms).where(*mine)).scalar_one())
        if together > 1:
            zh.append(f"同组共 {together} 起告警")
            en.append(f"{together} alarms of one group")
    if row.maintenance is not None:
        zh.append("所在位置正在维护")
        en.append("there is maintenance at this place")
    if row.flapping:
        zh.append("反复出现")
        en.append("it comes and goes")
    if row.late:
        zh.append("迟到的告警")
        en.append("it arrived late")
    return "；".join(zh), "; ".join(en)
