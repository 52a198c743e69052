"""What may be asked of a gateway, with what, and how long it may take. Pure.

Owns the kinds of commands that people may send by the API and the console, each with its arguments and their limits.
There is no kind that runs text. Whoever adds a kind to the agent enters it here when people may ask for it by itself;
`service.send` takes any, for the folders that have their own way of asking.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.errors import nearest
from firmware_specs.readings import NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_specs.wire_fleet import ResultPhase

MAX_TTL_S: Final = 3600
MAX_OPEN: Final = 8
"""Commands of a gateway that are not over."""
MAX_TEXT: Final = 3 * 1024 * 1024
"""Characters of all parts of an answer; what is more ends the command."""
MAX_PARTS: Final = 4096
GRACE_MS: Final = 15_000
"""An answer may come this long after a command expired: it was taken up in time."""
KEPT_MS: Final = 7 * 86_400_000
"""How long the text of an answer is kept, a diagnostics bundle among them."""
ROW_KEPT_MS: Final = 90 * 86_400_000
"""How long it is listed that something was asked."""
_NAME: Final = re.compile(NAME_PATTERN)


class Phase(StrEnum):
    """How a command stands."""

    WAITING = "waiting"
    """The gateway has not said anything."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


OVER: Final = frozenset({Phase.DONE, Phase.FAILED, Phase.REFUSED, Phase.EXPIRED})


class Whole(NamedTuple):
    """An argument that is a whole number within limits."""

    low: int
    high: int

    def wrong(self, text: str) -> str:
        """Why a text is none, empty when it is one."""
        good = text.isascii() and text.isdigit() and len(text) <= 9 and self.low <= int(text) <= self.high
        return "" if good else f"not a whole number from {self.low} to {self.high}"


class Named(NamedTuple):
    """An argument that is a name."""

    most: int = 64

    def wrong(self, text: str) -> str:
        """Why a text is none, empty when it is one."""
        return "" if len(text) <= self.most and _NAME.fullmatch(text) else "not a name"


class Kind(NamedTuple):
    """A kind of command. run_s: how long it may take; an answer that stays away longer is taken for lost."""

    arguments: Mapping[str, Whole | Named] = {}
    needs: frozenset[str] = frozenset()
    run_s: int = 120


KINDS: Final[dict[str, Kind]] = {
    "check": Kind(),
    "log-tail": Kind({"lines": Whole(0, 500), "follow_s": Whole(0, 600)}, run_s=660),
    "restart-connector": Kind({"name": Named()}, frozenset({"name"})),
    "diagnostics": Kind(),
    "stop": Kind({"id": Named()}, frozenset({"id"})),
}
OTHER: Final = Kind(run_s=4200)
"""What is taken of a kind that is not here."""
BUNDLE: Final = "diagnostics"
"""The kind whose answer is a file."""


def fault(kind: str, arguments: Mapping[str, str]) -> str:
    """Why a person may not ask this, empty when it may be asked."""
    if kind not in KINDS:
        return f"kind: {kind[:64]!r} is none{nearest(kind[:64], KINDS)}"
    wanted = KINDS[kind]
    for name, text in arguments.items():
        if name not in wanted.arguments:
            return f"arguments.{name[:64]}: {kind} has none of the name{nearest(name[:64], wanted.arguments)}"
        if why := wanted.arguments[name].wrong(text):
            return f"arguments.{name}: {why}"
    missing = sorted(wanted.needs - arguments.keys())
    return f"arguments.{missing[0]}: is missing" if missing else ""


def run_ms(kind: str) -> int:
    """How long a command of a kind may take once it was begun."""
    return 1000 * KINDS.get(kind, OTHER).run_s


def after_result(now: Phase, told: ResultPhase) -> Phase:
    """How a command stands after an answer: what is over stays as it is."""
    return now if now in OVER else Phase(told.value)


def quiet_reason(now: Phase) -> tuple[Phase, str]:
    """How a command ends of which nothing was heard in time, and why."""
    if now is Phase.WAITING:
        return Phase.EXPIRED, "the gateway did not answer in time"
    return Phase.FAILED, "the gateway began and did not finish in time"
