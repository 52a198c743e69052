"""PostgreSQL tells at once that another process committed events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg
import structlog

from cloud.stream import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.db import Database

RETRY_S: Final = 2.0
log: Final = structlog.get_logger("stream")


async def listen(db: Database, committed: Callable[[], None]) -> None:
    """Call `committed` for each notification until cancelled; a lost connection is made again, polling covers it."""
    url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                committed()
                async for _ in connection.notifies():
                    committed()
        except psycopg.Error as e:
            log.warning("listening failed", error=str(e).splitlines()[0] if str(e) else type(e).__name__)
        await asyncio.sleep(RETRY_S)
