"""A process that is killed at random, how long it was away, and what that excuses.

Owns the times of its absences. A deadline may be late by those and by `SLACK_MS` of the time in which the process
served, however often it was killed in between.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from tests.system.harness import now_ms

if TYPE_CHECKING:
    import random

    from tests.system.harness import Part

SLACK_MS: Final = 2000
"""What a busy machine may add to a tick of 0.1 s, and to the first one after a start."""
PAUSES_S: Final = (0.2, 1.6)


class Down(NamedTuple):
    """From a kill until the process served again."""

    since: int
    until: int


class Killer:
    """Kills a part and starts it again, each time after a random while, in a thread of its own.

    Leaving waits until it has killed as often as it was to, and raises what went wrong.
    """

    def __init__(self, part: Part, kills: int, dice: random.Random) -> None:
        self.part = part
        self.kills = kills
        self.down: list[Down] = []
        self._dice = dice
        self._failed: BaseException | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"killer-{part.name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._given_up.set()
        self._thread.join(30 + 10 * self.kills)
        assert not self._thread.is_alive()
        if self._failed is not None and kind is None:
            raise self._failed

    def _run(self) -> None:
        try:
            for _ in range(self.kills):
                if self._given_up.wait(self._dice.uniform(*PAUSES_S)):
                    return
                since = now_ms()
                self.part.kill()
                self.part.start()
                self.part.wait_ready()
                self.down.append(Down(since, now_ms()))
        except BaseException as e:  # noqa: BLE001 - raised again where the test waits for it
            self._failed = e

    @property
    def done(self) -> float:
        """Which share of the kills is over."""
        return len(self.down) / self.kills

    def served_ms(self, from_ms: int, to_ms: int) -> int:
        """For how much of a time the process served."""
        away = sum(max(0, min(each.until, to_ms) - max(each.since, from_ms)) for each in self.down)
        return to_ms - from_ms - away

    def on_time(self, due: int, fired: int) -> bool:
        """Whether what was due fired then: not before, and later by the time away and the slack at most."""
        return due <= fired and self.served_ms(due, fired) <= SLACK_MS
