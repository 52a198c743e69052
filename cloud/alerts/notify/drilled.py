"""What became of the messages of a drill: what the drills' folder may know of deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloud.alerts.notify.store import deliveries

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


class Delivered(NamedTuple):
    """Messages to the sandbox by how they ended."""

    delivered: int
    failed: int
    waiting: int


def of_subjects(tx: Connection, subjects: Collection[tuple[str, int]]) -> Delivered:
    """The drill messages about things, each named by subject and id."""
    counts = {"failed": 0, "waiting": 0, "delivered": 0}
    for subject in sorted({subject for subject, _ in subjects}):
        ids = [number for name, number in subjects if name == subject]
        counted = sa.select(deliveries.c.status, sa.func.count()).where(
            deliveries.c.subject == subject, deliveries.c.subject_id.in_(ids), deliveries.c.drill.is_(True)
        )
        for status, count in tx.execute(counted.group_by(deliveries.c.status)):
            counts[status if status in {"failed", "waiting"} else "delivered"] += count
    return Delivered(counts["delivered"], counts["failed"], counts["waiting"])
