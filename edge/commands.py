"""What the cloud wants of this gateway: the desired document, kept over restarts and applied while running.

Owns the document in force. One that is wrong is counted and the last good one stays; the same again does nothing. It is
kept in the outbox's states, so that it holds offline and from the first frame after a start. Whoever asks finds which
is in force in the report, and how many were refused in the status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from firmware_specs.errors import PackError
from firmware_specs.wire import Desired, decode_desired, encode_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.intake import Intake

DESIRED_KEY: Final = "desired"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("commands")


class Downlink:
    """See the module. keep: has the outbox keep states."""

    def __init__(self, intake: Intake, keep: Callable[[dict[str, bytes | None]], None]) -> None:
        self._intake = intake
        self._keep = keep
        self._in_force: Desired | None = None
        self.refused = 0
        """Documents that were wrong, since the start."""

    @property
    def version(self) -> int:
        """Of the document in force, 0 when there never was one."""
        return self._in_force.version if self._in_force else 0

    def restore(self, kept: Mapping[str, bytes]) -> None:
        """Take up the document of an earlier run, before the first frame."""
        if DESIRED_KEY in kept:
            try:
                self._apply(decode_desired(kept[DESIRED_KEY]))
            except PackError as e:
                _log.error("the kept desired document cannot be read", reason=e.reason)

    def take(self, payload: bytes) -> bool:
        """Take a document as it came; whether another one is in force now."""
        try:
            desired = decode_desired(payload)
        except PackError as e:
            self.refused += 1
            _log.warning("desired document refused, the last good one stays", reason=e.reason)
            return False
        if desired == self._in_force:
            return False
        self._apply(desired)
        self._keep(self.states())
        _log.info("desired document in force", version=desired.version, carried=len(desired.carried))
        return True

    def _apply(self, desired: Desired) -> None:
        self._in_force = desired
        self._intake.hold_to(desired)

    def states(self) -> dict[str, bytes | None]:
        """Everything that a new file has to know."""
        return {DESIRED_KEY: encode_message(self._in_force)} if self._in_force else {}
