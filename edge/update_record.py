"""What this gateway knows of the last update of its agent, kept over restarts and power cuts.

Owns the record `state_dir/updates/record.json`: the order, how it stands, and which versions it leads from and to. It
is on the disk before anything is done by it. A record that cannot be read counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from firmware_specs.durable import write_file
from firmware_specs.wire_fleet import ENDED, UpdateOrder, UpdatePhase, UpdateState

if TYPE_CHECKING:
    from pathlib import Path

MAX_REASON: Final = 1000


class Version(msgspec.Struct, frozen=True):
    """A version and the slot that it lies in."""

    name: str
    version: str


class Record(msgspec.Struct, frozen=True):
    """See the module.

    sha256: of the bundle, slot: where it lies. came_from: what ran when the order was taken, previous: what was
    committed before what is committed now. were_up: the connectors that were up before the change.
    """

    order: UpdateOrder | None = None
    phase: UpdatePhase = UpdatePhase.IDLE
    reason: str = ""
    at_ms: int = 0
    done: int = 0
    size: int = 0
    sha256: str = ""
    slot: str = ""
    came_from: Version | None = None
    previous: Version | None = None
    were_up: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.phase in ENDED

    def is_about(self, order: UpdateOrder) -> bool:
        """Whether an order is this one again; where the bytes come from and when is not what makes it another."""
        mine = self.order
        return mine is not None and _identity(mine) == _identity(order)

    def state(self, running: str) -> UpdateState:
        """What the cloud is told."""
        order = self.order
        return UpdateState(
            self.phase, order.campaign if order else 0, order.version if order else "", self.reason[:MAX_REASON],
            self.at_ms, running, self.done, self.size,
        )  # fmt: skip


def _identity(order: UpdateOrder) -> tuple[int, int, str, str, bool]:
    return order.campaign, order.issued_ms, order.target, order.version, order.rollback


def load(path: Path) -> Record:
    """The record as it was kept."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Record()


def keep(path: Path, record: Record) -> None:
    """Have a record on the disk. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(path, msgspec.json.encode(record))
