"""The states of a campaign and of its members, and what moves them, as tables. Pure.

What is in no table does not happen: an act is refused, an event changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    """Somebody else must approve it."""
    APPROVED = "approved"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"
    ABORTED = "aborted"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"


class Act(StrEnum):
    """What moves a campaign. The last two are the engine's own."""

    APPROVE = "approve"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLL_BACK = "rollback"
    RETRY = "retry"
    FINISH = "finish"
    REOPEN = "reopen"
    """Somebody committed after everybody had gone back."""


CAMPAIGN: Final[Mapping[tuple[State, Act], State]] = {
    (State.DRAFT, Act.APPROVE): State.APPROVED,
    (State.APPROVED, Act.START): State.RUNNING,
    (State.RUNNING, Act.APPROVE): State.RUNNING,
    (State.PAUSED, Act.APPROVE): State.PAUSED,
    (State.RUNNING, Act.PAUSE): State.PAUSED,
    (State.PAUSED, Act.RESUME): State.RUNNING,
    (State.DRAFT, Act.ABORT): State.ABORTED,
    (State.APPROVED, Act.ABORT): State.ABORTED,
    (State.RUNNING, Act.ABORT): State.ABORTED,
    (State.PAUSED, Act.ABORT): State.ABORTED,
    (State.RUNNING, Act.ROLL_BACK): State.ROLLING_BACK,
    (State.PAUSED, Act.ROLL_BACK): State.ROLLING_BACK,
    (State.ABORTED, Act.ROLL_BACK): State.ROLLING_BACK,
    (State.ENDED, Act.ROLL_BACK): State.ROLLING_BACK,
    (State.RUNNING, Act.RETRY): State.RUNNING,
    (State.PAUSED, Act.RETRY): State.PAUSED,
    (State.ENDED, Act.RETRY): State.RUNNING,
    (State.ROLLED_BACK, Act.RETRY): State.ROLLING_BACK,
    (State.RUNNING, Act.FINISH): State.ENDED,
    (State.ROLLING_BACK, Act.FINISH): State.ROLLED_BACK,
    (State.ROLLED_BACK, Act.REOPEN): State.ROLLING_BACK,
}
"""What is not here is refused."""
UNFINISHED: Final = frozenset({State.DRAFT, State.APPROVED, State.RUNNING, State.PAUSED, State.ROLLING_BACK})
"""States from which something is still to come."""


class Standing(StrEnum):
    """Where a member stands."""

    PENDING = "pending"
    STARTED = "started"
    COMMITTED = "committed"
    FAILED = "failed"
    RETRYING = "retrying"
    """It failed, and waits to be started again."""
    MISSED = "missed"
    """It was never started: its gateway was offline all the time."""
    CANCELLED = "cancelled"
    BACKING = "backing"
    """What was before has been ordered."""
    BACK = "back"
    STUCK = "stuck"
    """It did not go back."""


class Event(StrEnum):
    """What moves a member."""

    START = "start"
    DONE = "done"
    FAIL = "fail"
    MISS = "miss"
    CANCEL = "cancel"
    RETRY = "retry"
    GO_BACK = "go-back"
    BACK_DONE = "back-done"
    BACK_FAIL = "back-fail"


MEMBER: Final[Mapping[tuple[Standing, Event], Standing]] = {
    (Standing.PENDING, Event.START): Standing.STARTED,
    (Standing.PENDING, Event.MISS): Standing.MISSED,
    (Standing.PENDING, Event.CANCEL): Standing.CANCELLED,
    (Standing.STARTED, Event.DONE): Standing.COMMITTED,
    (Standing.STARTED, Event.FAIL): Standing.FAILED,
    (Standing.FAILED, Event.DONE): Standing.COMMITTED,
    (Standing.FAILED, Event.RETRY): Standing.RETRYING,
    (Standing.RETRYING, Event.START): Standing.STARTED,
    (Standing.RETRYING, Event.DONE): Standing.COMMITTED,
    (Standing.RETRYING, Event.MISS): Standing.FAILED,
    (Standing.RETRYING, Event.CANCEL): Standing.FAILED,
    (Standing.MISSED, Event.RETRY): Standing.PENDING,
    (Standing.COMMITTED, Event.GO_BACK): Standing.BACKING,
    (Standing.BACKING, Event.BACK_DONE): Standing.BACK,
    (Standing.BACKING, Event.BACK_FAIL): Standing.STUCK,
    (Standing.STUCK, Event.BACK_DONE): Standing.BACK,
    (Standing.STUCK, Event.RETRY): Standing.COMMITTED,
}
"""What is not here changes nothing: it comes late, or again."""
WAITING: Final = frozenset({Standing.PENDING, Standing.RETRYING})
STOPPED_IN: Final[Mapping[State, tuple[Standing, ...]]] = {
    State.ABORTED: (Standing.STARTED,),
    State.ROLLING_BACK: (Standing.STARTED, Standing.FAILED),
}
"""Whose orders are taken back; after a rollback nothing is wanted any more of who failed either."""
IN_FLIGHT: Final = frozenset({Standing.STARTED, Standing.BACKING})


def after(state: State, act: Act) -> State | None:
    """Where an act leads, None when it is refused."""
    return CAMPAIGN.get((state, act))


def acts(state: State) -> list[Act]:
    """What somebody may do with a campaign that stands there."""
    return [act for (at, act) in CAMPAIGN if at is state and act not in {Act.FINISH, Act.REOPEN}]


def moved(standing: Standing, event: Event) -> Standing:
    """Where an event leaves a member; where it was when the event means nothing there."""
    return MEMBER.get((standing, event), standing)


def sources(event: Event) -> list[Standing]:
    """From where an event moves a member."""
    return [standing for (standing, each) in MEMBER if each is event]


def event_of(*, ok: bool, back: bool) -> Event:
    """What an outcome means. back: it is of the way back."""
    if back:
        return Event.BACK_DONE if ok else Event.BACK_FAIL
    return Event.DONE if ok else Event.FAIL
