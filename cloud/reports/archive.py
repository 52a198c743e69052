"""Making a review and keeping it: figures are read outside of any write transaction, then written once.

Owns the step from a pending row to one that is made. A review that is made never changes; what follows from it are the
follow-ups of the units that came out worst, and word to the supervisors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from cloud.alerts.notify import service as notify
from cloud.console import i18n
from cloud.org import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.reports import collect, data
from cloud.reports.models import FollowUpState, ReviewState
from cloud.reports.periods import Period, day_of
from cloud.reports.store import follow_ups, reviews
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.db import Database
    from cloud.reports.data import Figures, Unit

_NAMED: Final = 2
"""How many of a unit's weakest figures its follow-up names."""


def put(db: Database, actor: Principal, values: dict[str, Any], now_ms: int) -> int:
    """Make a review on demand: its figures, then its row. values: the columns that say of what; gives its id."""
    period = Period(values["from_at"], values["to_at"])
    with db.read() as tx:
        figures = collect.collect(tx, values["node"], period, ZoneInfo(values["zone"]))
    row = {
        **values, "created_at": now_ms, "created_by": actor.label, "state": ReviewState.MADE.value,
        "data": data.encode(figures),
    }  # fmt: skip
    with db.begin() as tx:
        made = int(tx.execute(reviews.insert().values(row).returning(reviews.c.id)).scalar_one())
        _follow(tx, actor, made, figures, now_ms)
    return made


def make_one(db: Database, review: int, now_ms: int) -> None:
    """Make a pending review; one that somebody else made meanwhile stays as it is."""
    pending = (reviews.c.id == review, reviews.c.state == ReviewState.PENDING.value)
    with db.read() as tx:
        row = tx.execute(sa.select(reviews).where(*pending)).first()
        if row is None:
            return
        figures = collect.collect(tx, row.node, Period(row.from_at, row.to_at), ZoneInfo(row.zone))
    values = {"state": ReviewState.MADE.value, "data": data.encode(figures), "created_at": now_ms}
    with db.begin() as tx:
        if tx.execute(reviews.update().where(*pending).values(values).returning(reviews.c.id)).first():
            _follow(tx, SYSTEM, review, figures, now_ms)
            _tell(tx, row, figures, now_ms)


def _follow(tx: Connection, actor: Principal, review: int, figures: Figures, now_ms: int) -> None:
    """The follow-ups that a review begins with, and its entry in the audit chain."""
    units = {unit.node: unit for unit in figures.units}
    rows = [
        {
            "review": review, "node": node, "text": _asked(units[node]), "state": FollowUpState.OPEN.value,
            "owner": None, "updated_at": now_ms, "updated_by": actor.label,
        }
        for node in figures.follow_ups
    ]  # fmt: skip
    if rows:
        tx.execute(follow_ups.insert(), rows)
    audit.record(tx, actor, "review.make", f"review/{review}", at=now_ms)


def _asked(unit: Unit) -> str:
    """What a unit is asked to look at, in both languages: its weakest figures."""
    known = sorted((share, name) for name, share in unit.shares.items() if share is not None)[:_NAMED]
    told = (
        ", ".join(f"{words('reviews.share_' + name)} {share:.1%}" for share, name in known)
        for words in i18n.WORDS.values()
    )
    return " / ".join(told)


def _tell(tx: Connection, row: Row[Any], figures: Figures, now_ms: int) -> None:
    """Tell those who review that one is ready; the same one is told once."""
    zone = ZoneInfo(row.zone)
    zh, en = figures.names.get(row.node, (row.node, row.node))
    notify.enqueue(
        tx,
        notify.Message(
            node=row.node, subject="review", subject_id=row.id, template="review.ready",
            values={
                "what": row.kind, "what_zh": i18n.WORDS["zh"](f"reviews.kind_{row.kind}"),
                "what_en": i18n.WORDS["en"](f"reviews.kind_{row.kind}"), "where": zh or en,
                "period": f"{day_of(row.from_at, zone)} – {day_of(row.to_at - 1, zone)} {row.zone}",
            },
            severity=Severity.WARNING, roles=(Role.SUPERVISOR,), urgent=False, drill=False, key=f"review/{row.id}",
        ),
        now_ms,
    )  # fmt: skip
