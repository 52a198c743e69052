"""The steps of an agent's update that touch the disk, in the order that survives a power cut.

Owns what is written when: the record first, then the deed, so that whoever starts next knows what was meant. Each step
may be done again. No network, no clock, no loop: `edge/update.py` decides when.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import msgspec

from edge import update_record
from edge.slots import Trial
from edge.update_record import Record, Version
from firmware_specs.errors import UpdateRejected
from firmware_specs.release import is_older, version_key
from firmware_specs.wire_fleet import UpdatePhase

if TYPE_CHECKING:
    from pathlib import Path

    from edge.slots import Slots
    from firmware_specs.wire_fleet import UpdateOrder

DOWNLOADS: Final = "downloads"


class Steps:
    """See the module. mine: the slot and version that run now."""

    def __init__(self, state_dir: Path, slots: Slots, mine: Version) -> None:
        self.slots = slots
        self.mine = mine
        self.downloads = state_dir / "updates" / DOWNLOADS
        self._path = state_dir / "updates" / "record.json"
        self.record = update_record.load(self._path)

    def note(self, now_ms: int, phase: UpdatePhase, reason: str = "", **more: object) -> Record:
        """Keep how it stands. Raises OSError."""
        values = {"phase": phase, "reason": reason, "at_ms": now_ms, **more}
        self.record = msgspec.structs.replace(self.record, **values)
        update_record.keep(self._path, self.record)
        return self.record

    def begin(self, order: UpdateOrder, now_ms: int) -> None:
        """Take an order; one that is another forgets how the last one ended."""
        if self.record.is_about(order):
            self.reorder(order)
            return
        previous = self.record.previous
        self.record = Record(previous=previous)
        self.note(now_ms, UpdatePhase.WAITING, order=order, came_from=self.mine)

    def reorder(self, order: UpdateOrder) -> None:
        """Take the same order with another window or place; how it stands is not touched."""
        if self.record.order != order:
            self.record = msgspec.structs.replace(self.record, order=order)

    def check(self, order: UpdateOrder) -> bool:
        """Whether there is anything to do for an order. Raises UpdateRejected when it may not be done."""
        try:
            if version_key(order.version) == version_key(self.mine.version):
                return False
            older = is_older(order.version, self.mine.version)
        except ValueError as e:
            raise UpdateRejected(str(e)) from e
        if not older:
            return True
        back = self.record.previous
        if not order.rollback:
            raise UpdateRejected(f"{order.version} is older than {self.mine.version}, which runs")
        if back is None or version_key(back.version) != version_key(order.version):
            had = back.version if back else "none"
            raise UpdateRejected(f"{order.version} is not the version that was committed before ({had})")
        return True

    def slot_of(self, order: UpdateOrder) -> str:
        """The slot that an order's version gets: never one that runs or that there is a way back to."""
        name = order.version.lower().removeprefix("v")
        taken = {self.slots.current, self.slots.committed}
        return f"{name}~2" if name in taken else name

    def is_there(self, order: UpdateOrder, sha256: str) -> bool:
        """Whether these very bytes are unpacked already."""
        return self.slots.sealed(self.slot_of(order)) == sha256

    def install(self, order: UpdateOrder, bundle: Path, sha256: str, now_ms: int) -> None:
        """Unpack a verified bundle. Raises UpdateRejected, OSError."""
        if not self.is_there(order, sha256):
            from edge.unpack import unpack  # noqa: PLC0415 - archives are only read by an update

            new = self.slots.fresh()
            unpack(bundle, new)
            self.slots.take_in(new, self.slot_of(order), sha256)
        self.note(now_ms, UpdatePhase.STAGED, sha256=sha256, slot=self.slot_of(order))

    def switch(self, order: UpdateOrder, were_up: tuple[str, ...], now_ms: int) -> None:
        """Have the next start be the new version's. The agent restarts after it. Raises OSError."""
        self.slots.write_trial(Trial(self.record.slot, 0, order.trial_s))
        if self.slots.committed != self.mine.name:
            self.slots.point("committed", self.mine.name)
        self.note(now_ms, UpdatePhase.TRIAL, were_up=were_up)
        self.slots.point("current", self.record.slot)

    def was_left(self) -> str | None:
        """Why the launcher went back from the version on trial; None when it did not."""
        trial = self.slots.trial()
        return trial.reason if trial and trial.reason and trial.name != self.mine.name else None

    def commit(self, now_ms: int) -> None:
        """What runs has proven healthy. Raises OSError."""
        came_from = self.record.came_from
        if self.slots.committed != self.mine.name:
            self.slots.point("previous", self.slots.committed)
            self.slots.point("committed", self.mine.name)
        previous = came_from if came_from and came_from != self.mine else self.record.previous
        self.note(now_ms, UpdatePhase.COMMITTED, previous=previous)

    def give_up(self, reason: str, now_ms: int) -> None:
        """What runs has not proven healthy: the next start is the committed version's. Raises OSError."""
        trial = self.slots.trial() or Trial(self.mine.name)
        self.slots.write_trial(trial._replace(reason=reason))
        self.note(now_ms, UpdatePhase.ROLLED_BACK, reason)
        self.slots.point("current", self.slots.committed)

    def tidy(self) -> None:
        """Delete what no version needs any more. Raises OSError."""
        shutil.rmtree(self.downloads, ignore_errors=True)
        if self.slots.trial() and self.slots.current == self.slots.committed:
            self.slots.end_trial()
        self.slots.sweep()
