"""Which commands this gateway has taken up, over restarts: so that none is done twice.

Owns `commands.json` in the state folder, written whole (write, fsync, rename, fsync of the folder) before a command is
begun and after it ended. What cannot be written down is not begun. The latest are kept whatever the clock says, since
a clock that was wrong for a while must not make an old command a new one; beyond them those whose time is over go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from firmware_specs.durable import write_file
from firmware_specs.wire_fleet import ResultPhase

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "commands.json"
KEPT: Final = 500
"""Of the latest commands, expired or not."""
MOST: Final = 2000
"""With those that have not expired."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("remote")


class Taken(msgspec.Struct, frozen=True):
    """A command that was taken up and how it stands. part: of its last answer."""

    expires_ms: int
    phase: ResultPhase = ResultPhase.RUNNING
    reason: str = ""
    part: int = 0


_decode = msgspec.json.Decoder(dict[str, Taken]).decode


class Memory:
    """See the module."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir
        self._taken: dict[str, Taken] = {}

    def load(self) -> None:
        """Read what an earlier run took up; what it did not finish has failed with it."""
        try:
            self._taken = _decode((self._folder / FILE).read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as e:
            _log.error("the memory of commands cannot be read, repeats are not known", reason=str(e)[:200])
            return
        cut = "the agent ended while it was at it"
        for command, taken in self._taken.items():
            if taken.phase is ResultPhase.RUNNING:
                self._taken[command] = Taken(taken.expires_ms, ResultPhase.FAILED, cut, taken.part)

    def get(self, command: str) -> Taken | None:
        """How a command stands that was taken up, None when it is new."""
        return self._taken.get(command)

    def put(self, command: str, taken: Taken, now_ms: int) -> None:
        """Remember a command. Raises OSError when it cannot be kept: then it must not be begun."""
        before = dict(self._taken)
        self._taken.pop(command, None)
        self._taken[command] = taken
        over = list(self._taken)[: max(0, len(self._taken) - KEPT)]
        for old in over:
            if self._taken[old].expires_ms < now_ms or len(self._taken) > MOST:
                del self._taken[old]
        try:
            self._write()
        except OSError:
            self._taken = before
            raise

    def _write(self) -> None:
        write_file(self._folder / FILE, msgspec.json.encode(self._taken))
