"""What is published, as the database has it: read by whoever orders an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from cloud.devices.releases.store import repository
from cloud.devices.releases.store import targets as table
from cloud.errors import Conflict, NotFound
from firmware_specs.release import Release, Target

if TYPE_CHECKING:
    from sqlalchemy import Connection


def targets(tx: Connection) -> list[Target]:
    """Every published target, by path."""
    rows = tx.execute(sa.select(table).order_by(table.c.path))
    return [Target(row.path, row.size, row.sha256, msgspec.json.decode(row.release, type=Release)) for row in rows]


def find(tx: Connection, path: str) -> Target:
    """A published target. Raises NotFound."""
    row = tx.execute(sa.select(table).where(table.c.path == path)).first()
    if row is None:
        raise NotFound(f"target {path[:120]!r}: not published")
    return Target(row.path, row.size, row.sha256, msgspec.json.decode(row.release, type=Release))


def urls(tx: Connection) -> tuple[str, str]:
    """Where metadata and targets are. Raises Conflict while nothing is published."""
    row = tx.execute(sa.select(repository)).first()
    if row is None or '"timestamp"' not in row.versions:
        raise Conflict("nothing is published; `patrol-cloud release publish`")
    return row.metadata_url, row.targets_url
