"""A word of a device that is on its way to commit counts when its silence is judged (D2)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.devices import liveness, service
from tests.cloud.cloud_support import NOW, reading, wait_for
from tests.cloud.test_liveness import ALLOWED, hear, look, open_alarms, silence_ms, start

if TYPE_CHECKING:
    from cloud.db import Database


def blocked(db: Database) -> bool:
    """Whether a transaction of PostgreSQL waits for another; on SQLite the writer's lock is enough."""
    if db.sqlite:
        return True
    with db.read() as tx:
        return bool(tx.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def test_a_device_heard_while_it_is_judged_is_not_silent_D2(db: Database) -> None:
    start(db, "smk-1")
    late = NOW + silence_ms() + 100
    for now in range(NOW, NOW + silence_ms(), 4000):
        look_only(db, now)
        hear(db, now)
    judge = threading.Thread(target=look, args=(db, late))
    with db.begin() as tx:
        service.heard(tx, "gw-1", late)
        service.apply_readings(tx, "gw-1", "e", [(9, reading("smk-1", "smoke", 0.1))], late)
        judge.start()
        wait_for(lambda: blocked(db), 10, "the judge to wait")
    judge.join(20)
    assert not open_alarms(db)


def look_only(db: Database, now: int) -> None:
    """Attend without judging, so that nothing is given back later."""
    with db.begin() as tx:
        liveness.attend(tx, now)
        liveness.tick(tx, now, ALLOWED)
