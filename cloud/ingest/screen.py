"""What of a batch may be kept at all: the shift limit of what patrol members carry, before any store has it.

Owns the order: first every SOS of the batch, which lifts the limit of its device, then the gate for the rest of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.presence.rosters import service as rosters
from firmware_specs.carried import sos_at
from firmware_specs.readings import AlarmEvent, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud.db import Database
    from firmware_specs.readings import Item


def gate_for(database: Database, new: Mapping[str, Sequence[Item]], now_ms: int, sos_ms: int) -> rosters.Gate:
    """The gate for new items by gateway. Raises StoreError."""
    calls = {gateway: [item for item in items if _calls(item)] for gateway, items in new.items()}
    if any(calls.values()):
        with database.begin() as tx:
            for gateway, called in sorted(calls.items()):
                rosters.lift(tx, gateway, called, now_ms, sos_ms)
    with database.read() as tx:
        return rosters.gate(tx, new)


def _calls(item: Item) -> bool:
    return isinstance(item, Reading | AlarmEvent) and sos_at(item) is not None
