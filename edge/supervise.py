"""Keeps one connector running.

Owns the restart after a LinkError, with full-jitter backoff, and the one line that says how the link is. Catches
nothing else: an error of another class is a defect and ends the agent, which systemd starts again.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.connectors.base import Connector, Sink

_FIRST_LIMIT_S: Final = 0.5
_log: structlog.stdlib.BoundLogger = structlog.get_logger("connector")


async def supervise(connector: Connector, sink: Sink, tell: Callable[[str], None], backoff_max_s: float) -> None:
    """Run the connector until cancelled. tell: takes `connecting`, `up`, or why the link is down."""
    loop = asyncio.get_running_loop()
    limit_s = _FIRST_LIMIT_S
    up_at = loop.time()
    last = ""

    def started() -> None:
        nonlocal up_at, last
        up_at = loop.time()
        if last != "up":
            _log.info("link up", connector=connector.name)
        last = "up"
        tell("up")

    tell("connecting")
    while True:
        up_at = float("inf")
        try:
            await connector.run(sink, started)
        except LinkError as e:
            if e.reason != last:
                _log.warning("link down", connector=connector.name, endpoint=e.endpoint, reason=e.reason)
            last = e.reason
            tell(e.reason)
        if loop.time() - up_at > backoff_max_s:
            limit_s = _FIRST_LIMIT_S
        await asyncio.sleep(random.uniform(0, limit_s))  # noqa: S311 - spreads load, guards nothing
        limit_s = min(2 * limit_s, backoff_max_s)
