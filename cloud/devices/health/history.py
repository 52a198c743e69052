"""What is kept of gateways over time: when they came and went, what they wrote to their disks, why they started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.db import insert
from cloud.devices import hooks
from cloud.devices.health.rules import DAY_MS, share_online
from cloud.devices.health.store import days, line, starts
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from firmware_specs.wire_vitals import Vitals

SPANS: Final = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
KEPT_MS: Final = 92 * DAY_MS


def came_or_went(tx: Connection, gateway: str, online: bool, at_ms: int) -> None:
    """Note it; the same again changes nothing."""
    put = insert(tx, line).values(gateway=gateway, at=at_ms, online=online)
    tx.execute(put.on_conflict_do_update(index_elements=["gateway", "at"], set_={"online": online}))


def shares(tx: Connection, gateway: str, now_ms: int) -> dict[str, float | None]:
    """The share of the last day, week and month in which a gateway was online."""
    c = line.c
    begin = now_ms - max(SPANS.values())
    before = sa.select(sa.func.max(c.at)).where(c.gateway == gateway, c.at < begin).scalar_subquery()
    wanted = sa.select(c.at, c.online).where(c.gateway == gateway, c.at <= now_ms, c.at >= sa.func.coalesce(before, 0))
    changes = [(row.at, row.online) for row in tx.execute(wanted.order_by(c.at))]
    return {name: share_online(changes, now_ms - span, now_ms) for name, span in SPANS.items()}


def take(tx: Connection, gateway: str, told: Vitals, before: Vitals, now_ms: int) -> None:
    """Keep the days and the starts that a gateway tells and did not tell before; the same again changes nothing.

    What its clock put outside of what is kept, or more than a day ahead, is of no use.
    """
    known = set(before.written) if before.written_budget == told.written_budget else set()
    for day, written in told.written:
        if (day, written) in known or not _plausible(day * DAY_MS, now_ms):
            continue
        values = {"written": written, "budget": told.written_budget or 0}
        put = insert(tx, days).values(gateway=gateway, day=day, **values)
        tx.execute(put.on_conflict_do_update(index_elements=["gateway", "day"], set_=values))
    rows = [
        {"gateway": gateway, "at": each.at_ms, "reason": each.reason.value, "detail": clean(each.detail, 256)}
        for each in told.starts
        if each not in before.starts and _plausible(each.at_ms, now_ms)
    ]
    if rows:
        tx.execute(insert(tx, starts).on_conflict_do_nothing(), rows)


def _plausible(at_ms: int, now_ms: int) -> bool:
    return now_ms - KEPT_MS <= at_ms <= now_ms + DAY_MS


def written(tx: Connection, gateway: str, count: int = 31) -> list[Row[Any]]:
    """The latest days, the oldest first: day, written, budget."""
    wanted = sa.select(days.c.day, days.c.written, days.c.budget).where(days.c.gateway == gateway)
    return list(reversed(tx.execute(wanted.order_by(days.c.day.desc()).limit(count)).all()))


def latest_starts(tx: Connection, gateway: str, count: int = 20) -> list[Row[Any]]:
    """The latest starts, the newest first: at, reason, detail."""
    wanted = sa.select(starts.c.at, starts.c.reason, starts.c.detail).where(starts.c.gateway == gateway)
    return list(tx.execute(wanted.order_by(starts.c.at.desc()).limit(count)))


def forget(tx: Connection, gateway: str, now_ms: int) -> None:
    """Delete what is older than a quarter of a year; the last that is known of its line before stays."""
    before = now_ms - KEPT_MS
    newest = sa.select(sa.func.max(line.c.at)).where(line.c.gateway == gateway, line.c.at < before).scalar_subquery()
    tx.execute(line.delete().where(line.c.gateway == gateway, line.c.at < newest))
    tx.execute(days.delete().where(days.c.gateway == gateway, days.c.day < before // DAY_MS))
    tx.execute(starts.delete().where(starts.c.gateway == gateway, starts.c.at < before))


hooks.LINE.append(came_or_went)
