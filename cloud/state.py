"""What the running service is made of: built by `cloud.app`, read by every route."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.broadcast import Broadcaster
    from cloud.config import Config
    from cloud.db import Database
    from cloud.telemetry.store import TelemetryStore


def now_ms() -> int:
    """The wall clock in milliseconds UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class AppState:
    """Found at `request.app.state.patrol`."""

    config: Config
    db: Database
    telemetry: TelemetryStore
    broadcaster: Broadcaster
