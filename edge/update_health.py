"""Whether a new version of the agent has proven itself. Pure but for the one figure that the kernel gives.

Owns the conditions: the cloud has acknowledged a canary since the start, what was up before is up, the outbox lives
and memory is sane. All of them have to hold at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RSS_LIMIT: Final = 192 * 1024 * 1024
"""The unit's MemoryMax is 256 MB."""


class Vital(NamedTuple):
    """What is looked at. acked_at: of the uplink, began_at: of this run; both on the loop's clock."""

    acked_at: float
    began_at: float
    connectors: Mapping[str, str]
    outbox_alive: bool
    rss_bytes: int


def missing(vital: Vital, were_up: Collection[str], planned: Collection[str]) -> list[str]:
    """What keeps a version from being committed; empty when nothing does.

    were_up: connectors that were up before the change. planned: those that the configuration still has.
    """
    wrong = []
    if vital.acked_at <= vital.began_at:
        wrong.append("the cloud has acknowledged nothing since the start")
    down = [name for name in were_up if name in planned and vital.connectors.get(name) != "up"]
    wrong += [f"connector {name} is {vital.connectors.get(name, 'not there')}" for name in down]
    if not vital.outbox_alive:
        wrong.append("the outbox does not write")
    if vital.rss_bytes > RSS_LIMIT:
        wrong.append(f"{vital.rss_bytes // 2**20} MiB of memory, more than {RSS_LIMIT // 2**20}")
    return wrong


def rss_bytes() -> int:
    """Resident memory of this process, 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
