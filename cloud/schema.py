"""The whole relational schema, and bringing a database up to it.

Imports every folder's tables, so that `metadata` is complete. `migrate` may be called by any number of processes at
once: one migrates, the others wait and find it done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import cloud.alerts.notify.store
import cloud.alerts.store
import cloud.devices.broker.store
import cloud.devices.campaigns.store
import cloud.devices.configs.store
import cloud.devices.enrolment.store
import cloud.devices.field.store
import cloud.devices.health.store
import cloud.devices.releases.store
import cloud.devices.remote.store
import cloud.devices.store
import cloud.incidents.drills.store
import cloud.incidents.levels.store
import cloud.incidents.store
import cloud.ingest.store
import cloud.order
import cloud.org.audit
import cloud.org.store
import cloud.presence.rosters.store
import cloud.presence.store
import cloud.reports.hazards.store
import cloud.reports.store
import cloud.stream
import cloud.timers  # noqa: F401 - all for their tables
from cloud.db import MIGRATE_LOCK, metadata
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.db import Database

__all__ = ["current", "head", "metadata", "migrate"]

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def _config(tx: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    if tx is not None:
        config.attributes["connection"] = tx
    return config


def head() -> str:
    """The revision that this program needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise StoreError("migrations", f"none found in {_SCRIPTS}")
    return revision


def _revisions() -> set[str]:
    return {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}


def knows(revision: str | None) -> bool:
    """Whether a database of a revision can be brought to `head` by this program; None is an empty one."""
    return revision is None or revision in _revisions()


def current(tx: Connection) -> str | None:
    """The revision of a database, None when it is empty."""
    return MigrationContext.configure(tx).get_current_revision()


def migrate(database: Database) -> bool:
    """Bring the database to `head`. Gives whether anything was to do.

    Raises StoreError when the database was made by a newer program.
    """
    with database.begin() as tx:
        if not database.sqlite:
            tx.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATE_LOCK)))
        found = current(tx)
        if found == head():
            return False
        if found is not None and found not in {
            s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions()
        }:
            raise StoreError("database", f"revision {found} is of a newer program")
        command.upgrade(_config(tx), "head")
        return True
