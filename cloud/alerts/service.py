"""What other folders may do with alarms: apply what gateways tell, act as a person, read views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import escalation, explanation, hooks, quiet, views
from cloud.alerts.apply import Merged, apply_events, clear_own, raise_own, resettle
from cloud.alerts.filters import conditions
from cloud.alerts.hooks import Happening
from cloud.alerts.models import AlarmDetail, AlarmFilter, AlarmView, ClearReason, OpenCounts
from cloud.alerts.store import alarms, history
from cloud.devices.places import hold, touch
from cloud.errors import Forbidden
from cloud.org import audit
from cloud.org.rows import row_of
from cloud.org.rules import SYSTEM, Permission, Principal, scope
from cloud.paging import MAX_LIMIT, Page, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.alerts.ops_models import Explanation

__all__ = [
    "acknowledge", "active_flags", "active_kinds", "apply_events", "assign", "clear", "clear_own", "comment", "explain",
    "fold", "get_alarm", "list_alarms", "open_by_node", "open_counts", "raise_own", "raised_at",
    "shelve",
]  # fmt: skip

DAY_MS: Final = 86_400_000
SHELF: Final = "alarm-shelf"
LOADED: Final = (escalation,)
"""What has entered its timers and hooks now."""


def list_alarms(
    tx: Connection, principal: Principal, query: AlarmFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[AlarmView]:
    """Alarms within scope, newest raised first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(alarms).where(scope(principal, alarms.c.node), *conditions(query))
    if cursor:
        raised_at, alarm_id = decode_cursor(cursor, int, int)
        wanted = wanted.where(sa.tuple_(alarms.c.raised_at, alarms.c.id) < sa.tuple_(raised_at, alarm_id))
    wanted = wanted.order_by(alarms.c.raised_at.desc(), alarms.c.id.desc()).limit(limit + 1)
    rows = tx.execute(wanted).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].raised_at, shown[-1].id) if len(rows) > limit else None
    return Page(items=views.views_of(tx, shown), next_cursor=following)


def get_alarm(tx: Connection, principal: Principal, alarm_id: int) -> AlarmDetail:
    """One alarm with its history. Raises NotFound when absent or out of scope."""
    return views.detail_of(tx, _row(tx, principal, alarm_id))


def explain(tx: Connection, principal: Principal, alarm_id: int, now_ms: int) -> Explanation:
    """Why it was raised, whom it told, what keeps it quiet, what comes next. Raises NotFound."""
    return explanation.of(tx, principal, _row(tx, principal, alarm_id), now_ms)


def _row(tx: Connection, principal: Principal, alarm_id: int, *, lock: bool = False) -> Row[Any]:
    return row_of(tx, alarms, principal, alarm_id, "alarm", lock=lock)


def open_counts(tx: Connection, principal: Principal, now_ms: int) -> OpenCounts:
    """Counts of what `list_alarms` would list as not cleared and not folded."""
    mine = scope(principal, alarms.c.node)
    seen = alarms.c.acknowledged_at.is_not(None)
    counted = sa.select(alarms.c.severity, seen, sa.func.count()).where(
        mine, alarms.c.cleared_at.is_(None), alarms.c.folded_into.is_(None)
    )
    by_severity = dict.fromkeys(Severity, 0)
    by_seen = {False: 0, True: 0}
    for severity, was_seen, count in tx.execute(counted.group_by(alarms.c.severity, seen)):
        by_severity[Severity(severity)] += count
        by_seen[bool(was_seen)] += count
    missed = sa.select(sa.func.count()).where(
        mine, alarms.c.cleared_at >= now_ms - DAY_MS, alarms.c.acknowledged_at.is_(None)
    )
    return OpenCounts(
        open=by_seen[False], acknowledged=by_seen[True], by_severity=by_severity,
        unacknowledged_cleared=tx.execute(missed).scalar_one(),
    )  # fmt: skip


def open_by_node(tx: Connection, principal: Principal) -> dict[str, int]:
    """How many alarms that are not cleared nor folded there are at exactly each node within scope."""
    open_ = (scope(principal, alarms.c.node), alarms.c.cleared_at.is_(None), alarms.c.folded_into.is_(None))
    counted = sa.select(alarms.c.node, sa.func.count()).where(*open_).group_by(alarms.c.node)
    return {node: int(count) for node, count in tx.execute(counted)}


def raised_at(tx: Connection, ids: Collection[int]) -> list[int]:
    """When those alarms of some that there are were raised."""
    return list(tx.execute(sa.select(alarms.c.raised_at).where(alarms.c.id.in_(ids))).scalars())


def active_flags(**tests: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> sa.Subquery:
    """For a join: `gateway`, `device`, and for each test 1 when the kind of one of its alarms not cleared passes."""
    flags = (sa.func.max(sa.case((test(alarms.c.kind), 1), else_=0)).label(name) for name, test in tests.items())
    wanted = sa.select(alarms.c.gateway, alarms.c.device, *flags).where(alarms.c.cleared_at.is_(None))
    return wanted.group_by(alarms.c.gateway, alarms.c.device).subquery("active")


def active_kinds(tx: Connection, gateways: Iterable[str] | None = None) -> dict[tuple[str, str], list[str]]:
    """The kinds of alarms that are not cleared, by (gateway, device)."""
    wanted = sa.select(alarms.c.gateway, alarms.c.device, alarms.c.kind).where(alarms.c.cleared_at.is_(None))
    if gateways is not None:
        wanted = wanted.where(alarms.c.gateway.in_(list(gateways)))
    kinds: dict[tuple[str, str], list[str]] = {}
    for gateway, device, kind in tx.execute(wanted):
        kinds.setdefault((gateway, device), []).append(kind)
    return kinds


def _act(tx: Connection, actor: Principal, alarm_id: int, permission: Permission) -> Row[Any]:
    """The row, locked for change. Raises Forbidden, NotFound."""
    row = _row(tx, actor, alarm_id)
    if not actor.may(permission):
        raise Forbidden(f"role {actor.role} may not {permission} alarms")
    hold(tx, row.gateway)
    return _row(tx, actor, alarm_id, lock=True)


def _done(
    tx: Connection, actor: Principal, row: Row[Any], action: str, now_ms: int, *, detail: str = "",
    also: Iterable[int] = (), **values: object,
) -> AlarmView:  # fmt: skip
    """Write what a person did: the row, its history, the audit chain, the stream."""
    detail = clean(detail, 2000)
    values = {name: clean(value, 2000) if isinstance(value, str) else value for name, value in values.items()}
    if values:
        tx.execute(alarms.update().where(alarms.c.id == row.id).values(**values))
    tx.execute(history.insert().values(alarm=row.id, at=now_ms, actor=actor.label, action=action, detail=detail))
    audit.record(tx, actor, f"alarm.{action}", f"alarm/{row.id}", at=now_ms, detail=detail)
    touch(tx, row.gateway, row.device, now_ms)
    changed = {row.id, *also}
    if action == "cleared":
        mine = Merged(row.id, row.kind, row.rule, row.rank, row.open_key is not None)
        settled = resettle(tx, row.gateway, row.device, mine)
        changed |= settled.changed
        follow = [] if settled.after in {None, settled.before} else [settled.after]
        followed = quiet.follow(tx, changed, follow, now_ms)
        hooks.tell(tx, Happening.CLEARED, row.id, now_ms)
        for alarm_id in [*follow, *followed.returned]:
            hooks.tell(tx, Happening.RAISED, alarm_id, now_ms)
        changed |= followed.changed
    elif action == "acknowledged":
        hooks.tell(tx, Happening.ACKNOWLEDGED, row.id, now_ms)
    elif action in {"shelved", "unshelved"} and row.cleared_at is None:
        followed = quiet.look(tx, [row.id], now_ms)
        for alarm_id in followed.returned:
            hooks.tell(tx, Happening.RAISED, alarm_id, now_ms)
    views.announce(tx, changed, now_ms)
    return views.views_of(tx, [_row(tx, actor, row.id)])[0]


def acknowledge(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, comment: str | None = None) -> AlarmView:
    """Somebody has seen it, and what is folded into it. A repeat changes nothing. Raises NotFound, Forbidden."""
    row = _act(tx, actor, alarm_id, Permission.ACKNOWLEDGE)
    if row.acknowledged_at is not None:
        return views.views_of(tx, [row])[0]
    seen: dict[str, Any] = {"acknowledged_at": now_ms, "acknowledged_by": actor.label}
    below = (alarms.c.folded_into == row.id, alarms.c.acknowledged_at.is_(None), alarms.c.kind == row.kind)
    folded = tx.execute(alarms.update().where(*below).values(**seen).returning(alarms.c.id)).scalars().all()
    return _done(tx, actor, row, "acknowledged", now_ms, detail=comment or "", also=folded, **seen)


def clear(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, comment: str | None = None) -> AlarmView:
    """Clear by hand. A repeat changes nothing. Raises NotFound, Forbidden."""
    row = _act(tx, actor, alarm_id, Permission.CLEAR)
    if row.cleared_at is not None:
        return views.views_of(tx, [row])[0]
    return _done(
        tx, actor, row, "cleared", now_ms, detail=comment or "", cleared_at=now_ms, cleared_by=actor.label,
        clear_reason=ClearReason.MANUAL.value, open_key=None, folded_into=None,
    )  # fmt: skip


def comment(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, text: str) -> AlarmView:
    """Add a remark. Raises NotFound, Forbidden."""
    row = _act(tx, actor, alarm_id, Permission.COMMENT)
    return _done(tx, actor, row, "comment", now_ms, detail=text)


def assign(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, user: str | None) -> AlarmView:
    """Give it to somebody, or with None to nobody. Raises NotFound, Forbidden."""
    row = _act(tx, actor, alarm_id, Permission.ASSIGN)
    return _done(tx, actor, row, "assigned", now_ms, detail=user or "", assigned_to=user)


def shelve(tx: Connection, actor: Principal, alarm_id: int, now_ms: int, *, until_ms: int, reason: str) -> AlarmView:
    """Take it out of sight until a time; a time that has passed brings it back. Raises NotFound, Forbidden."""
    row = _act(tx, actor, alarm_id, Permission.SHELVE)
    if until_ms <= now_ms:
        return _done(tx, actor, row, "unshelved", now_ms, detail=reason, shelved_until=None, shelve_reason=None)
    timers.set_timer(tx, SHELF, str(row.id), until_ms)
    return _done(tx, actor, row, "shelved", now_ms, detail=reason, shelved_until=until_ms, shelve_reason=reason)


def _shelf_over(tx: Connection, timer: timers.Timer, now_ms: int) -> None:
    """The time for which an alarm was put aside is over: it is in sight again, and told of when it still stands."""
    gateway = tx.execute(sa.select(alarms.c.gateway).where(alarms.c.id == int(timer.key))).scalar()
    hold(tx, gateway or "")
    row = tx.execute(sa.select(alarms).where(alarms.c.id == int(timer.key)).with_for_update()).first()
    if row is None or row.shelved_until is None:
        return
    if row.shelved_until > now_ms:
        timers.set_timer(tx, SHELF, timer.key, row.shelved_until)
        return
    if row.cleared_at is None:
        _done(tx, SYSTEM, row, "unshelved", now_ms, shelved_until=None, shelve_reason=None)


timers.HANDLERS[SHELF] = _shelf_over


def fold(tx: Connection, gateway: str, kind: str, into: int | None, now_ms: int) -> None:
    """Let one alarm stand for a gateway's open alarms of a kind; None lets them stand for themselves again."""
    mine = (alarms.c.gateway == gateway, alarms.c.kind == kind, alarms.c.open_key.is_not(None))
    changed = tx.execute(alarms.update().where(*mine).values(folded_into=into).returning(alarms.c.id)).scalars().all()
    followed = quiet.look(tx, changed, now_ms)
    quiet.announce(tx, followed._replace(changed=followed.changed | set(changed)), now_ms)
