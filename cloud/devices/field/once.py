"""Doing something once although it is asked for again: a phone on a flaky line repeats a request until it is answered.

Owns the memory of answers by the key that the phone chose. The answer is written in the transaction of the deed, so
there is never one without the other. Forgotten after a week; nobody repeats that long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import sqlalchemy as sa

from cloud.db import insert
from cloud.devices.field.store import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.org.rules import Principal
    from cloud.paging import View

V = TypeVar("V", bound="View")
KEPT_MS: Final = 7 * 86_400_000


def once(  # noqa: PLR0917 - who asks for what, when, and what it is
    tx: Connection, actor: Principal, kind: str, key: str | None, now_ms: int, model: type[V], do: Callable[[], V]
) -> V:  # fmt: skip
    """The answer to a request: what it was the first time, or what doing it now gives. No key: done each time."""
    if not key:
        return do()
    whole = f"{actor.kind}:{actor.id}|{kind}|{key}"
    tx.execute(requests.delete().where(requests.c.at < now_ms - KEPT_MS))
    # The row comes first: of two that are the same at the same time one waits here, and then reads the other's answer.
    put = insert(tx, requests).values(key=whole, at=now_ms, answer="").on_conflict_do_nothing()
    if tx.execute(put.returning(requests.c.key)).first() is None:
        answer = tx.execute(sa.select(requests.c.answer).where(requests.c.key == whole)).scalar_one()
        return model.model_validate_json(answer)
    view = do()
    tx.execute(requests.update().where(requests.c.key == whole).values(answer=view.model_dump_json()))
    return view
