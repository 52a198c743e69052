"""What may be done with a hazard report, and what becomes of it. Pure.

Owns the states. A report is new until somebody takes it up; from then on it has an owner. A merged one is over: the one
that it was merged into stands for it. A handled one can be opened again, since a lamp breaks twice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SAME_MS: Final = 24 * 3600 * 1000
"""Reports of one node and kind within this time are offered as the same."""


class HazardKind(StrEnum):
    """What is reported: always a thing or a place."""

    EXIT_BLOCKED = "exit-blocked"
    GAS_SMELL = "gas-smell"
    LAMP_BROKEN = "lamp-broken"
    DETECTOR_DAMAGED = "detector-damaged"
    CROWDING = "crowding"
    OTHER = "other"


class HazardState(StrEnum):
    """Where a report stands."""

    NEW = "new"
    TRIAGED = "triaged"
    HANDLED = "handled"
    HANDED_OVER = "handed-over"
    ESCALATED = "escalated"
    MERGED = "merged"


class HazardAction(StrEnum):
    """What somebody does with it."""

    TRIAGE = "triage"
    """Take it up; who does so, or whom they name, owns it."""
    HANDLE = "handle"
    HAND_OVER = "hand-over"
    ESCALATE = "escalate"
    MERGE = "merge"
    REOPEN = "reopen"
    NOTE = "note"


_OPEN: Final = (HazardState.NEW, HazardState.TRIAGED, HazardState.HANDED_OVER, HazardState.ESCALATED)
_BECOMES: Final = {
    HazardAction.TRIAGE: HazardState.TRIAGED, HazardAction.HANDLE: HazardState.HANDLED,
    HazardAction.HAND_OVER: HazardState.HANDED_OVER, HazardAction.ESCALATE: HazardState.ESCALATED,
    HazardAction.MERGE: HazardState.MERGED, HazardAction.REOPEN: HazardState.TRIAGED,
}  # fmt: skip
_FROM: Final[dict[HazardAction, tuple[HazardState, ...]]] = {
    HazardAction.TRIAGE: (HazardState.NEW, HazardState.HANDED_OVER, HazardState.ESCALATED),
    HazardAction.HANDLE: _OPEN,
    HazardAction.HAND_OVER: _OPEN,
    HazardAction.ESCALATE: _OPEN,
    HazardAction.MERGE: _OPEN,
    HazardAction.REOPEN: (HazardState.HANDLED,),
    HazardAction.NOTE: (*_OPEN, HazardState.HANDLED),
}
STEP_OF: Final = {
    HazardAction.TRIAGE: "triaged", HazardAction.HANDLE: "handled", HazardAction.HAND_OVER: "handed-over",
    HazardAction.ESCALATE: "escalated", HazardAction.MERGE: "merged", HazardAction.REOPEN: "reopened",
    HazardAction.NOTE: "note",
}  # fmt: skip
"""How a step is called in the history."""


def allowed(state: HazardState) -> list[HazardAction]:
    """What may be done in a state."""
    return [action for action in HazardAction if state in _FROM[action]]


def after(state: HazardState, action: HazardAction) -> HazardState | None:
    """The state after an action, None when the state does not allow it."""
    if state not in _FROM[action]:
        return None
    return _BECOMES.get(action, state)


def owner_after(action: HazardAction, owner: str | None, actor: str, to: str | None) -> str | None:
    """Who owns it after an action: whom it was given to, else who first took it up; a note changes nothing."""
    if action in {HazardAction.NOTE, HazardAction.MERGE}:
        return owner
    if action in {HazardAction.TRIAGE, HazardAction.HAND_OVER, HazardAction.REOPEN}:
        return to or actor
    return owner or actor


class Report(NamedTuple):
    """What the search for the same hazard needs to know."""

    id: int
    node: str
    kind: str
    reported_at: int
    state: HazardState


def likely_same(of: Report, others: Iterable[Report]) -> list[int]:
    """The reports that may be of the same thing: same node and kind, within a day, not merged; the nearest first."""
    near = [
        (abs(other.reported_at - of.reported_at), other.id)
        for other in others
        if other.id != of.id and (other.node, other.kind) == (of.node, of.kind)
        and other.state is not HazardState.MERGED and abs(other.reported_at - of.reported_at) <= SAME_MS
    ]  # fmt: skip
    return [other for _, other in sorted(near)]
