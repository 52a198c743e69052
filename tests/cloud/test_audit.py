"""The audit chain (S11): it follows the commits, and any change shows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud.org.audit import audit, record, verify
from cloud.org.rules import SYSTEM
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from cloud.db import Database


def rows(db: Database) -> list[dict[str, Any]]:
    with db.read() as tx:
        return [dict(row) for row in tx.execute(sa.select(audit).order_by(audit.c.id)).mappings()]


def write(db: Database, number: int) -> None:
    with db.begin() as tx:
        record(tx, SYSTEM, "test", f"thing/{number}", at=NOW, detail="火警 \x01")
        record(tx, SYSTEM, "test", f"thing/{number}/again", at=NOW)


def test_writers_at_the_same_time_make_one_chain_S11(db: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write(db, number), range(40)))
    chain = rows(db)
    assert len(chain) == 80
    assert verify(chain) is None


def test_a_changed_removed_or_inserted_row_is_found_S11(db: Database) -> None:
    for number in range(3):
        write(db, number)
    chain = rows(db)
    changed = [dict(row) for row in chain]
    changed[2]["target"] = "thing/x"
    assert verify(changed) == chain[2]["id"]
    assert verify(chain[:2] + chain[3:]) == chain[3]["id"]
    assert verify([*chain[:2], chain[0], *chain[2:]]) == chain[0]["id"]


def test_nothing_is_written_by_a_transaction_that_failed(db: Database) -> None:
    def fail() -> None:
        with db.begin() as tx:
            record(tx, SYSTEM, "test", "thing", at=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows(db) == []
