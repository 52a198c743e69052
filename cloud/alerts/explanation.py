"""An alarm explains itself: what judged it by which readings, what kept it quiet and why, who was told, what is next.

Owns no rows: it reads what the rules decided, and says it in words of two languages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud import catalogue
from cloud.alerts import beyond, escalation, quiet, rules, silences, views, wording
from cloud.alerts.models import EvidenceView
from cloud.alerts.ops_models import Explanation, NextStep, Reason, ReasonKind, RuleView, Told
from cloud.alerts.rules import Suppression, Why
from cloud.alerts.store import alarms
from cloud.org.rules import Role, scope
from cloud.paging import at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal

GROUP_SHOWN: Final = 100


def of(tx: Connection, who: Principal, row: Row[Any], now_ms: int) -> Explanation:
    """The explanation of an alarm that the viewer may see."""
    decided = _decided(tx, row, now_ms)
    chain, percent = escalation.chain_of(tx, row, now_ms)
    return Explanation(
        alarm=row.id, state=views.state_of(row), rule=rule_of(row), evidence=_evidence(row), quiet=Why(row.quiet),
        reasons=list(_reasons(tx, who, row, decided)), group=_group(tx, who, row), flap=row.flap,
        flapping=row.flapping, chain=chain.name, chain_id=chain.id, percent=percent, taken=row.escalation,
        told=[
            Told(channel=each.channel_name, status=each.status, at=each.created_at, ended_at=each.ended_at)
            for each in beyond.sent(tx, row.id)
        ],
        next=_next(tx, row, chain),
    )  # fmt: skip


def _decided(tx: Connection, row: Row[Any], now_ms: int) -> Suppression:
    """What holds now; of a cleared alarm, what its columns kept."""
    if row.cleared_at is None:
        return quiet.decide(tx, [row], now_ms)[row.id]
    return Suppression(Why(row.quiet), row.silence, row.maintenance, row.inhibited_by)


def rule_of(row: Row[Any]) -> RuleView:
    """What judged, in words when they are still its words."""
    name, _, rule_name = row.rule.partition("/")
    profile = catalogue.profile(name)
    found = [each for each in profile.alarms if each.name == rule_name] if profile else []
    if profile is not None and found:
        zh, en = wording.rule(profile, found[0])
        return RuleView(
            name=row.rule, version=row.rule_version, known=profile.version == row.rule_version, text_zh=zh, text_en=en
        )
    zh, en = wording.OWN.get(rule_name, ("", "")) if name == "cloud" else ("", "")
    return RuleView(name=row.rule, version=row.rule_version, known=bool(zh), text_zh=zh, text_en=en)


def _evidence(row: Row[Any]) -> list[EvidenceView]:
    return [
        EvidenceView(metric=metric, value=value, observed_at=at(ms))
        for metric, value, ms in msgspec.json.decode(row.evidence)
    ]


def _reasons(tx: Connection, who: Principal, row: Row[Any], found: Suppression) -> Iterator[Reason]:
    covers = silences.find_silences(tx, (found.silence, found.maintenance, found.spared_by))
    leader = escalation.leader_of(tx, row) if row.cleared_at is None else None
    seen = _visible(tx, who, {row.folded_into, found.inhibited_by, leader})
    if row.folded_into is not None:
        yield _about(ReasonKind.FOLDED, row.folded_into, seen, "已并入告警 {id}：由它代表", "alarm {id} stands for it")
    if row.shelved_until is not None and found.why is Why.SHELVED:
        yield Reason(
            kind=ReasonKind.SHELVED, text_zh=f"已搁置：{row.shelve_reason}", text_en=f"shelved: {row.shelve_reason}",
            until=at(row.shelved_until),
        )  # fmt: skip
    if found.maintenance in covers:
        marked = row.kind in rules.PROTECTED and covers[found.maintenance].device is None
        yield _by(who, covers[found.maintenance], ReasonKind.MARKED if marked else ReasonKind.MAINTENANCE)
    if found.silence in covers:
        yield _by(who, covers[found.silence], ReasonKind.SILENCE)
    if found.spared_by in covers:
        yield _by(who, covers[found.spared_by], ReasonKind.SPARED)
    if found.inhibited_by is not None:
        zh, en = "由告警 {id} 的起因造成", "explained by the cause of alarm {id}"
        yield _about(ReasonKind.INHIBITED, found.inhibited_by, seen, zh, en)
    if leader is not None and found.loud:
        zh, en = "同组告警 {id} 代为通知", "alarm {id} of its group tells for it"
        yield _about(ReasonKind.GROUPED, leader, seen, zh, en)
    if row.flapping:
        never = row.kind in rules.PROTECTED
        flapping = (
            ("此类告警照常逐次通知", "its kind is told each time") if never else ("通知汇总发送", "told in digests")
        )
        yield Reason(
            kind=ReasonKind.FLAPPING, text_zh=f"反复出现（{row.flap:.1f}）：{flapping[0]}",
            text_en=f"it comes and goes ({row.flap:.1f}): {flapping[1]}",
        )  # fmt: skip
    if row.drill:
        yield Reason(
            kind=ReasonKind.DRILL, id=row.drill_id, text_zh="演练：只通知演练渠道，不计入统计",
            text_en="a drill: told to sandbox channels only, counted in no statistics",
        )  # fmt: skip


WORDS: Final = {
    ReasonKind.SILENCE: ("被静默", "silenced"),
    ReasonKind.MAINTENANCE: ("维护中，不通知", "under maintenance, nobody is told"),
    ReasonKind.MARKED: ("维护中，但此类告警照常通知", "under maintenance, but its kind is told all the same"),
    ReasonKind.SPARED: ("有静默覆盖，但此类告警不可静默", "a silence covers it, but its kind is never silenced"),
}


def _by(who: Principal, row: Row[Any], kind: ReasonKind) -> Reason:
    """A cover as a reason; what a viewer may not open is told without its words."""
    zh, en = WORDS[kind]
    if not silences.may_see(who, row):
        return Reason(kind=kind, text_zh=f"{zh}（由上级设置）", text_en=f"{en} (set further up)", until=at(row.ends_at))
    return Reason(
        kind=kind, id=row.id, text_zh=f"{zh}：{row.reason}（{row.owner}）", text_en=f"{en}: {row.reason} ({row.owner})",
        until=at(row.ends_at),
    )  # fmt: skip


def _about(kind: ReasonKind, alarm_id: int, seen: set[int], zh: str, en: str) -> Reason:
    """Another alarm as a reason; one beyond the viewer's scope is not named."""
    if alarm_id not in seen:
        return Reason(kind=kind, text_zh=zh.format(id="（权限之外）"), text_en=en.format(id="(out of scope)"))
    return Reason(kind=kind, id=alarm_id, text_zh=zh.format(id=alarm_id), text_en=en.format(id=alarm_id))


def _visible(tx: Connection, who: Principal, ids: set[int | None]) -> set[int]:
    wanted = sa.select(alarms.c.id).where(alarms.c.id.in_(ids - {None}), scope(who, alarms.c.node))
    return set(tx.execute(wanted).scalars()) if ids - {None} else set()


def _group(tx: Connection, who: Principal, row: Row[Any]) -> list[int]:
    if row.group_key is None:
        return [row.id]
    mine = sa.select(alarms.c.id).where(alarms.c.group_key == row.group_key, scope(who, alarms.c.node))
    return list(tx.execute(mine.order_by(alarms.c.raised_at, alarms.c.id).limit(GROUP_SHOWN)).scalars())


def _next(tx: Connection, row: Row[Any], chain: rules.Chain) -> NextStep | None:
    due = escalation.next_step(tx, row)
    if due is None or not chain.steps:
        return None
    number, repetition = rules.telling(chain, row.escalation)
    step = chain.steps[number]
    return NextStep(
        due_at=at(due), step=number + 1, steps=len(chain.steps), repetition=repetition,
        roles=[Role(role) for role in step.roles], node=escalation.node_of(row, step),
    )  # fmt: skip
